// What a TLS target trusts beside certificate authorities: the pin of its gateway, and what counts without one.
import { comparable } from '../config/bmux/known-gateways.ts';
import type { BmuxConfig, TlsTrust } from '../config/bmux/types.ts';
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

/** The gateways whose pin was removed or is another now. */
export function lostPins(before: TlsTrust, now: TlsTrust | undefined): string[] {
  const pins = pinsIn(now);
  return [...pinsIn(before)].filter(([key, pin]) => pins.get(key) !== pin).map(([key]) => key);
}

/** The pins that count, by gateway. */
function pinsIn(trust: TlsTrust | undefined): Map<string, string> {
  const all = [...(trust?.store.pins ?? []), ...(trust?.declared ?? [])];
  return new Map(all.map(([key, { fingerprint }]) => [key, comparable(fingerprint)]));
}

/** The key of a gateway in the config and in the store. */
export function gatewayKey(host: string, port: number): string {
  return `${host.trim()}:${String(port)}`;
}
