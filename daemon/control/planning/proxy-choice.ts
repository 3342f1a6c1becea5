// Selects the proxy of an HTTP request, by the rules of reqwest, the HTTP library of bmux.
import { BlockList, isIP } from 'node:net';

type Env = Readonly<Record<string, string | undefined>>;

/** A variable in upper case, else in lower case. Undefined when both are unset or empty. */
function read(env: Env, name: string): string | undefined {
  const upper = env[name] ?? '';
  const value = (upper === '' ? (env[name.toLowerCase()] ?? '') : upper).trim();
  return value === '' ? undefined : value;
}

/** URL of the proxy for `url`; undefined for none. HTTPS_PROXY and HTTP_PROXY are for their own scheme, ALL_PROXY for both. */
export function proxyFor(url: URL, env: Env): string | undefined {
  const named = read(env, url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY') ?? read(env, 'ALL_PROXY');
  if (named === undefined || isExempt(url.hostname, read(env, 'NO_PROXY') ?? '')) return undefined;
  const proxy = named.includes('://') ? named : `http://${named}`;
  // reqwest ignores a proxy that is no valid URL, too.
  return URL.canParse(proxy) ? proxy : undefined;
}

/** True when NO_PROXY names the host. It may contain `*`, domains (with their subdomains), addresses, and networks such as `10.0.0.0/8`. */
function isExempt(hostname: string, noProxy: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const entries = noProxy.split(',').map((entry) => entry.trim().toLowerCase());
  return entries.some((entry) => {
    if (entry === '') return false;
    if (entry === '*') return true;
    if (isIP(host) !== 0) return isInNetwork(host, entry);
    const domain = entry.replace(/^\./, '');
    return host === domain || host.endsWith(`.${domain}`);
  });
}

function isInNetwork(address: string, entry: string): boolean {
  const [network = '', bits] = entry.split('/');
  const family = isIP(network);
  if (family === 0 || family !== isIP(address)) return false;
  const type = family === 4 ? 'ipv4' : 'ipv6';
  const longest = family === 4 ? 32 : 128;
  const prefix = bits === undefined ? longest : /^\d{1,3}$/.test(bits) ? Number(bits) : -1;
  if (prefix < 0 || prefix > longest) return false;
  const list = new BlockList();
  list.addSubnet(network, prefix, type);
  return list.check(address, type);
}
