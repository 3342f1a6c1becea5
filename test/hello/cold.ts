// The parts of an engine that keeps nothing warm.
import { UpstreamSpares } from '../../daemon/engine/upstream/upstream-spares.ts';
import { Upstreams } from '../../daemon/engine/upstream/upstreams.ts';
import type { Connections } from '../../daemon/engine/upstream/connections.ts';
import { defaultSettings } from '../../daemon/config/settings/table.ts';

export function coldReached(connections: Connections): Upstreams {
  return new Upstreams({
    connections,
    roundTripMs: () => undefined,
    spares: () => 0,
    warmSinceMs: () => undefined,
    isDialling: () => false,
    sparesAreKept: () => true,
    streams: () => 0,
  });
}

export function noSpares(): UpstreamSpares {
  return new UpstreamSpares({
    settings: () => ({ ...defaultSettings(), 'warmth.max_connections': 0 }),
    taken: () => 0,
    candidateOf: () => undefined,
    open: () => Promise.reject(new Error('no spares here')),
    trustOf: () => Promise.reject(new Error('no spares here')),
    end: (stream) => stream.destroy(),
    tried: () => undefined,
    log: () => undefined,
  });
}
