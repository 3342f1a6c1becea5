// Which proxy a request goes through: the rules of reqwest, the HTTP library of the real client.
import { BlockList, isIP } from 'node:net';

type Env = Readonly<Record<string, string | undefined>>;

/** The first of the two spellings that is set and not empty; upper case counts first. */
function read(env: Env, name: string): string | undefined {
  const upper = env[name] ?? '';
  const value = (upper === '' ? (env[name.toLowerCase()] ?? '') : upper).trim();
  return value === '' ? undefined : value;
}

/** URL of the proxy for `url`, or undefined for none. HTTPS_PROXY and HTTP_PROXY count for their own scheme only, ALL_PROXY for both. */
export function proxyFor(url: URL, env: Env): string | undefined {
  const named = read(env, url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY') ?? read(env, 'ALL_PROXY');
  if (named === undefined || isExempt(url.hostname, read(env, 'NO_PROXY') ?? '')) return undefined;
  const proxy = named.includes('://') ? named : `http://${named}`;
  // A proxy that is no URL is not used, as there.
  return URL.canParse(proxy) ? proxy : undefined;
}

/** NO_PROXY: `*`, domains with all that is below them, addresses, and networks as `10.0.0.0/8`. */
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
