// Asks the control plane for the target of a share link: one GET, with limits of time, size and redirects (docs/bmux-protocol.md, "Control plane").
import { isUtf8 } from 'node:buffer';
import { inTime } from '../base/async/deadline.ts';
import type { BmuxConfig } from '../config/bmux/types.ts';
import { Failure } from '../base/failure.ts';
import { advised, fail } from '../errors/fail.ts';
import type { CallerEnv } from '../api/request.ts';
import type { HttpAnswer, HttpGet, HttpHeaders } from './http/client.ts';
import { parseJson } from './http/json.ts';
import { basic } from './http/proxy.ts';
import type { LookupLimits } from './inputs.ts';

const DEFAULT_URL = 'https://api.bmux.run';
/** Largest answer that is read, bytes: one target, and whatever else a control plane says. */
const MAX_ANSWER = 1024 * 1024;
/** The same limit as in the real client. */
const MAX_REDIRECTS = 10;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Returns the control plane's URL: BMUX_CONTROL_PLANE_URL if not blank, else connections.control_plane_url, else the public one. */
export function controlPlaneUrl(env: Pick<CallerEnv, 'BMUX_CONTROL_PLANE_URL'>, config: BmuxConfig): string {
  const fromEnv = env.BMUX_CONTROL_PLANE_URL ?? '';
  return fromEnv.trim() !== '' ? fromEnv : (config.connections.controlPlaneUrl ?? DEFAULT_URL);
}

/** What the control plane says of a share link: its target, or why it names none. */
export type ShareLinkAnswer = { readonly target: string } | { readonly why: string };

/**
 * Asks the control plane at `url` for the target of share link `name`. It names none with any status but 2xx and with an answer without
 * `target`. A timeout is `control_plane_unreachable`. An answer that is not JSON or too large is `share_lookup_unparsable`.
 */
export async function lookUpShareLink(
  name: string,
  url: string,
  token: string,
  limits: LookupLimits,
): Promise<ShareLinkAnswer> {
  // These names cannot be requested: a URL parser resolves them as path steps, percent-encoded or not.
  if (name === '' || name === '.' || name === '..')
    return { why: 'the control plane cannot be asked for this name' };
  const shown = withoutUserInfo(url);
  const late = (why: string) => fail('control_plane_unreachable', { url: shown }, new Error(why));
  const abort = new AbortController();
  let way = '';
  const get: HttpGet = (to, headers, signal) => limits.get(to, headers, signal, (one) => (way = one));
  const work = ask(name, url, token, get, abort.signal, late);
  try {
    return await inTime(
      work,
      limits.timeoutMs,
      () => late(`no answer within ${String(limits.timeoutMs)} ms${way}`),
      limits.signal === undefined ? {} : { signal: limits.signal },
    );
  } finally {
    abort.abort();
  }
}

async function ask(
  name: string,
  base: string,
  token: string,
  get: HttpGet,
  signal: AbortSignal,
  unreachable: (why: string) => Error,
): Promise<ShareLinkAnswer> {
  // Checked here, because the error of the platform would quote the header and with it the token.
  if (/[^\t\x20-\x7e]/.test(token))
    throw unreachable('the access token holds characters that no header can carry');
  let answer: HttpAnswer;
  try {
    answer = await follow(name, base, token, get, signal);
  } catch (error) {
    const failure = fail('control_plane_unreachable', { url: withoutUserInfo(base) }, error);
    const untrusted = untrustedIn(error);
    throw untrusted === undefined ? failure : advised(failure, untrusted.data.remedy);
  }
  const { status } = answer;
  const plane = `the control plane ${withoutUserInfo(base)}`;
  if (status < 200 || status > 299) {
    answer.drop();
    return { why: `${plane} answered ${String(status)}: ${meaningOf(status)}` };
  }
  let data: unknown;
  try {
    data = parseJson(await answer.text(MAX_ANSWER));
  } catch (error) {
    throw fail('share_lookup_unparsable', {}, error);
  }
  const target = typeof data === 'object' && data !== null && 'target' in data ? data.target : undefined;
  return typeof target === 'string' ? { target } : { why: `${plane} answered without a target` };
}

/** The failure of a server that is not trusted, below others as that of a proxy. */
function untrustedIn(error: unknown): Failure | undefined {
  if (error instanceof Failure && error.code === 'server_untrusted') return error;
  return error instanceof Error && error.cause !== undefined ? untrustedIn(error.cause) : undefined;
}

/** What a status other than 2xx says of the link. */
function meaningOf(status: number): string {
  if (status === 401) return 'it does not accept the access token; run `bmux auth login`';
  if (status === 403) return 'this account may not use the link';
  if (status === 404 || status === 410) return 'it knows no such link';
  if (status === 407) return 'the proxy demands credentials';
  if (status === 429) return 'it was asked too often; try again later';
  if (status >= 500) return 'it failed or is overloaded; try again later';
  return 'it did not answer the question';
}

/**
 * Follows redirects and returns the answer. The token, and the credentials of the URL beside it, are sent until the first redirect to another
 * origin, and never after it.
 */
async function follow(
  name: string,
  base: string,
  token: string,
  get: HttpGet,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  // Converted through bytes, because encodeURIComponent throws on a lone surrogate.
  const encoded = encodeURIComponent(Buffer.from(name).toString());
  let url = new URL(`${base.replace(/\/$/, '')}/v1/share-links/${encoded}`);
  const { origin, username, password } = url;
  const bearer = `Bearer ${token}`;
  const named = username === '' && password === '' ? [] : [basic(`${username}:${password}`)];
  let trusted = true;
  let referer: { readonly referer?: string } = {};
  for (let hops = 0; hops <= MAX_REDIRECTS; hops += 1) {
    if (!/^https?:$/.test(url.protocol)) throw new Error(`${url.protocol} is not HTTP`);
    trusted = trusted && url.origin === origin;
    const usual = { accept: '*/*', ...referer };
    const headers: HttpHeaders = trusted ? { ...usual, authorization: [...named, bearer] } : usual;
    const answer = await get(url, headers, signal);
    const next = redirectOf(answer, url);
    if (next === undefined) return answer;
    answer.drop();
    // As bmux tells it: never what was asked with https to a server with http.
    const isTold = url.protocol !== 'https:' || next.protocol === 'https:';
    referer = isTold ? { referer: withoutUserInfo(url.href).replace(/#.*$/, '') } : {};
    url = next;
  }
  throw new Error(`more than ${String(MAX_REDIRECTS)} redirects`);
}

/** Where a redirect leads. One to no host at all, as to a file, is the answer itself, as in bmux, and so is one in bytes that are no UTF-8. */
function redirectOf({ status, location }: HttpAnswer, from: URL): URL | undefined {
  if (!REDIRECTS.has(status) || location === undefined) return undefined;
  const bytes = Buffer.from(location, 'latin1');
  if (!isUtf8(bytes) || !URL.canParse(bytes.toString(), from.href)) return undefined;
  const url = new URL(bytes.toString(), from);
  return url.host === '' && url.pathname.startsWith('/') ? undefined : url;
}

/** Removes user and password from a URL, for texts. */
function withoutUserInfo(url: string): string {
  return url.replace(/^([a-z][a-z\d+.-]*:\/\/)?[^/?#]*@/i, '$1');
}
