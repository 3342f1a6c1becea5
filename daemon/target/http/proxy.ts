// Selects the proxy of an HTTP request, by the rules of reqwest, the HTTP library of bmux.
import { BlockList, isIP } from 'node:net';

type Env = Readonly<Record<string, string | undefined>>;

export interface Proxy {
  /** URL of the proxy without credentials: scheme, host, port. */
  readonly url: URL;
  /** Value of the Proxy-Authorization header, when the variable's URL has credentials. */
  readonly authorization: string | undefined;
}

const SCHEMES: ReadonlySet<string> = new Set([
  'http:',
  'https:',
  'socks4:',
  'socks4a:',
  'socks5:',
  'socks5h:',
]);

/** A variable in upper case, else in lower case. A variable that is set but empty hides the other one. */
function read(env: Env, name: string): string {
  return env[name] ?? env[name.toLowerCase()] ?? '';
}

/**
 * The proxy for `url`; undefined for none. HTTPS_PROXY and HTTP_PROXY are for their own scheme, ALL_PROXY is for both. A value that is no URL
 * of a proxy counts as unset. In a CGI program (REQUEST_METHOD is set) a header of the request would set HTTP_PROXY, so none is used.
 */
export function proxyFor(url: URL, env: Env): Proxy | undefined {
  if (env['REQUEST_METHOD'] !== undefined || isExempt(url.hostname, read(env, 'NO_PROXY'))) return undefined;
  return (
    parseProxy(read(env, url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY')) ??
    parseProxy(read(env, 'ALL_PROXY'))
  );
}

/** Throws for a proxy of a kind that bmux does not use, either. */
export function assertSupported({ url }: Proxy): void {
  if (!/^https?:$/.test(url.protocol))
    throw new Error(`the proxy scheme ${url.protocol.slice(0, -1)} is not supported`);
}

/** Characters that bmux's URL parser takes in `[user[:password]@]host[:port]`. */
const AUTHORITY = /^[!$%&'()*+,\-.:;=@[\]\w~]+$/;

/** Undefined for what bmux takes for no proxy, too. Throws where bmux would ask a proxy that cannot be reached: nothing is sent past it. */
function parseProxy(text: string): Proxy | undefined {
  // The URL parser of the platform trims and repairs what bmux's refuses.
  const [, scheme = 'http:', authority = ''] =
    /^(?:([a-z][a-z\d+.-]*:)\/\/)?([^/?#]+)$/i.exec(
      text.replace(/^([a-z][a-z\d+.-]*:\/\/[^/?#]*)[/?#].*$/i, '$1'),
    ) ?? [];
  if (!/^[\x21-\x7e]+$/.test(text) || !AUTHORITY.test(authority)) return undefined;
  if (!SCHEMES.has(scheme.toLowerCase())) return undefined;
  const at = authority.indexOf('@');
  const [, host = '', port] = /^(\[.*\]|[^:]*)(?::([^:]*))?$/.exec(authority.slice(at + 1)) ?? [];
  if ((host === '' && port === undefined) || host.includes('%')) return undefined;
  // What is no port counts as none, as in bmux.
  const number = /^\+?\d+$/.test(port ?? '') ? Number(port) : NaN;
  const address = `${scheme}//${host}${number <= 65_535 ? `:${String(number)}` : ''}`;
  if (!URL.canParse(address)) throw new Error(`the proxy "${host}" has no valid host name`);
  return { url: new URL(address), authorization: at < 0 ? undefined : basic(authority.slice(0, at)) };
}

/** `user[:password]`, percent-encoded, as a header of basic authentication. */
export function basic(userinfo: string): string {
  const colon = userinfo.indexOf(':');
  const [user, password] = colon < 0 ? [userinfo, ''] : [userinfo.slice(0, colon), userinfo.slice(colon + 1)];
  return `Basic ${Buffer.from(`${percentDecoded(user)}:${percentDecoded(password)}`).toString('base64')}`;
}

/** Decodes what is a percent-encoding and keeps anything else; bytes that are no UTF-8 become U+FFFD. */
function percentDecoded(text: string): string {
  const latin = text.replace(/%([\da-f]{2})/gi, (_all, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(latin, 'latin1').toString();
}

/** True when NO_PROXY names the host. It may contain `*`, domains (with their subdomains), addresses, and networks such as `10.0.0.0/8`. */
function isExempt(hostname: string, noProxy: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const entries = noProxy.split(',').map((entry) => entry.trim().toLowerCase());
  // `*` and domains do not count for addresses: reqwest compares an address with addresses and networks alone.
  if (isIP(host) !== 0) return entries.some((entry) => isInNetwork(host, entry));
  return entries.some((entry) => {
    // An address or a network is no domain, nor is an empty entry.
    if (entry === '' || isNetwork(entry)) return false;
    if (entry === '*') return true;
    const domain = entry.replace(/^\./, '');
    return host === domain || host.endsWith(`.${domain}`);
  });
}

/** An entry's address and length of prefix; undefined when it is neither an address nor a network. */
function networkOf(entry: string): { network: string; family: number; prefix: number } | undefined {
  const [, network = '', bits] = /^([^/]*)(?:\/(\d+))?$/.exec(entry) ?? [];
  const family = network.includes('%') ? 0 : isIP(network);
  if (family === 0) return undefined;
  const longest = family === 4 ? '32' : '128';
  const prefix = bits ?? longest;
  // A zero before the number is taken, as long as there are no more digits than in the longest prefix.
  if (prefix.length > longest.length || Number(prefix) > Number(longest)) return undefined;
  return { network, family, prefix: Number(prefix) };
}

const isNetwork = (entry: string): boolean => networkOf(entry) !== undefined;

function isInNetwork(address: string, entry: string): boolean {
  const found = networkOf(entry);
  if (found === undefined || found.family !== isIP(address)) return false;
  const type = found.family === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(found.network, found.prefix, type);
  return list.check(address, type);
}
