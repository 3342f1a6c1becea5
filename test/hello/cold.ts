// The parts of an engine that keeps nothing warm.
import { EngineSpares } from '../../daemon/engine/upstream/upstream-spares.ts';
import { Reached } from '../../daemon/engine/upstream/upstreams.ts';
import type { Places } from '../../daemon/engine/upstream/connections.ts';
import { defaultSettings } from '../../daemon/config/settings/table.ts';

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
