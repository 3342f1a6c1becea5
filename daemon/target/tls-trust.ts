// What a TLS target trusts beside certificate authorities: the pin of its gateway, and what counts without one.
import type { BmuxConfig } from '../config/bmux/types.ts';
import type { TlsRoute } from '../engine-protocol/plan.ts';

/**
 * The part of a route that says so. Nothing for a gateway without a pin in the mode `prompt`. The pin of the config comes before the one of
 * the store.
 */
export function tlsTrustOf(
  host: string,
  port: number,
  { connections: { tlsTrust } }: BmuxConfig,
): Pick<TlsRoute, 'trust'> {
  if (tlsTrust === undefined) return {};
  const { mode, declared, store } = tlsTrust;
  const key = gatewayKey(host, port);
  const own = declared.get(key)?.fingerprint;
  const stored = store.pins.get(key)?.fingerprint;
  const pin =
    own !== undefined
      ? ({ fingerprint: own, from: 'declarative config' } as const)
      : stored !== undefined
        ? ({ fingerprint: stored, from: 'local known-gateways store' } as const)
        : undefined;
  const problem = pin === undefined ? store.problem?.data : undefined;
  if (mode === 'prompt' && pin === undefined && problem === undefined) return {};
  return {
    trust: {
      mode,
      store: store.path,
      ...(pin === undefined ? {} : { pin }),
      ...(problem === undefined ? {} : { problem }),
    },
  };
}

/** The key of a gateway in the config and in the store. */
export function gatewayKey(host: string, port: number): string {
  return `${host.trim()}:${String(port)}`;
}
