// The parts of an engine that keeps nothing warm.
import { EngineSpares } from '../../daemon/engine/engine-spares.ts';
import { Reached } from '../../daemon/engine/reached.ts';
import type { Places } from '../../daemon/pool/places.ts';
import { defaultSettings } from '../../daemon/wire/settings.ts';

export function coldReached(places: Places): Reached {
  return new Reached({
    places,
    roundTripMs: () => undefined,
    spares: () => 0,
    warmSinceMs: () => undefined,
    isDialling: () => false,
    sparesAreKept: () => true,
    streams: () => 0,
  });
}

export function noSpares(): EngineSpares {
  return new EngineSpares({
    settings: () => ({ ...defaultSettings(), 'warmth.max_places': 0 }),
    taken: () => 0,
    candidateOf: () => undefined,
    open: () => Promise.reject(new Error('no spares here')),
    trustOf: () => Promise.reject(new Error('no spares here')),
    end: (stream) => stream.destroy(),
    tried: () => undefined,
    log: () => undefined,
  });
}
