// The upstreams of an engine that keeps no spares.
import { pino } from 'pino';
import { defaultSettings, type Settings } from '../../daemon/config/settings/table.ts';
import { Transports } from '../../daemon/engine/upstream/transports.ts';
import { Upstreams } from '../../daemon/engine/upstream/upstreams.ts';
import type { Env } from '../../daemon/base/paths.ts';
import type { ProtocolCache } from '../../daemon/hello/protocol-cache.ts';

/** No engine has left anything, and nothing is left for one. */
export const NO_ENGINE = {
  engineSocket: '/nonexistent/engines/test.sock',
  generation: 'test',
  isAlive: () => Promise.resolve(false),
  isLast: () => Promise.resolve(true),
};

/** `close` of the result closes everything. */
export function coldUpstreams(
  protocolCache: ProtocolCache,
  env: Env = {},
): { readonly upstreams: Upstreams; readonly transports: Transports } {
  const all: Settings = { ...defaultSettings(), 'iroh.relays': 'disabled', 'warmth.max_connections': 0 };
  const settings = (): Settings => all;
  const transports = new Transports({ settings, env, event: () => undefined, ssh: NO_ENGINE });
  const upstreams = new Upstreams({
    transports,
    protocolCache,
    settings,
    log: pino({ level: 'silent' }),
    event: () => undefined,
    ask: () => false,
  });
  return { upstreams, transports };
}
