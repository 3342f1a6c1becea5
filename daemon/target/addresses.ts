// Parses hosts and ports as users write them, with the rules of bmux.
import { isIPv4, isIPv6 } from 'node:net';

/** Parses a port as Rust's `u16::from_str` does: decimal digits, an optional plus sign, at most 65535; undefined otherwise. */
function parsePort(text: string): number | undefined {
  if (!/^\+?\d+$/.test(text)) return undefined;
  const port = Number(text);
  return port <= 0xffff ? port : undefined;
}

/** Removes the brackets of an IPv6 literal; other hosts are unchanged. */
export function withoutBrackets(host: string): string {
  const inside = /^\[(.*)\]$/.exec(host)?.[1];
  return inside !== undefined && isIPv6(inside) ? inside : host;
}

/**
 * Splits `host[:port]` at the last colon, or after the bracket of an IPv6 literal. `port` is undefined when absent, and NaN when invalid. bmux
 * has no brackets, and takes `example.com:` for a host name with a colon, which no resolver knows. Here an empty port counts as absent.
 */
export function splitHostPort(text: string): { host: string; port: number | undefined } {
  const bracketed = /^(\[[^\]]*\])(.*)$/s.exec(text);
  if (bracketed !== null) {
    const [, host = '', rest = ''] = bracketed;
    if (rest !== '' && !rest.startsWith(':')) return { host, port: NaN };
    return { host: host === '[]' ? '' : withoutBrackets(host), port: portAfter(rest) };
  }
  const colon = text.lastIndexOf(':');
  if (colon < 0) return { host: text, port: undefined };
  return { host: text.slice(0, colon), port: portAfter(text.slice(colon)) };
}

/** Parses the port in `''`, `':'` or `':443'`. */
function portAfter(rest: string): number | undefined {
  return rest.length <= 1 ? undefined : (parsePort(rest.slice(1)) ?? NaN);
}

/** True for a socket address in Rust's syntax: `IPv4:PORT` or `[IPv6]:PORT`, never a name. */
export function isSocketAddress(text: string): boolean {
  const [, v6, v4 = '', port = ''] = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d+)$/.exec(text) ?? [];
  return parsePort(port) !== undefined && (v6 === undefined ? isIPv4(v4) : isIPv6(v6));
}
