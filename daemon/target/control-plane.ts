// Asks the control plane for the target of a share link: one GET, with limits of time, size and redirects (docs/bmux-protocol.md, "Control plane").
import { inTime } from '../base/async/deadline.ts';
import type { BmuxConfig } from '../config/bmux/types.ts';
import { fail } from '../errors/fail.ts';
import type { CallerEnv } from '../api/request.ts';
import type { LookupLimits } from './inputs.ts';

const DEFAULT_URL = 'https://api.bmux.run';
/** Largest answer that is read, bytes: an answer contains one target. */
const MAX_ANSWER = 64 * 1024;
/** The same limit as in the real client. */
const MAX_REDIRECTS = 10;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Returns the control plane's URL: BMUX_CONTROL_PLANE_URL if not blank, else connections.control_plane_url, else the public one. */
export function controlPlaneUrl(env: Pick<CallerEnv, 'BMUX_CONTROL_PLANE_URL'>, config: BmuxConfig): string {
  const fromEnv = env.BMUX_CONTROL_PLANE_URL ?? '';
  return fromEnv.trim() !== '' ? fromEnv : (config.connections.controlPlaneUrl ?? DEFAULT_URL);
}

/**
 * Asks the control plane at `url` for the target of share link `name`. Undefined when it knows none (any status but 2xx, or an answer without
 * `target`). A timeout is `control_plane_unreachable`. An answer that is not JSON or too large is `share_lookup_unparsable`.
 */
export async function lookUpShareLink(
  name: string,
  url: string,
  token: string,
  limits: LookupLimits,
): Promise<string | undefined> {
  // These names cannot be requested: a URL parser resolves them as path steps, percent-encoded or not.
  if (name === '' || name === '.' || name === '..') return undefined;
  const shown = withoutCredentials(url);
  const late = (why: string) => fail('control_plane_unreachable', { url: shown }, new Error(why));
  const abort = new AbortController();
  const work = ask(name, url, token, limits.fetch ?? fetch, abort.signal, late);
  try {
    return await inTime(
      work,
      limits.timeoutMs,
      () => late(`no answer within ${String(limits.timeoutMs)} ms`),
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
  send: typeof fetch,
  signal: AbortSignal,
  unreachable: (why: string) => Error,
): Promise<string | undefined> {
  // Checked here, because the error of fetch would quote the header and with it the token.
  if (/[^\t\x20-\x7e]/.test(token))
    throw unreachable('the access token holds characters that no header can carry');
  let response: Response;
  try {
    response = await get(name, base, token, send, signal);
  } catch (error) {
    throw fail('control_plane_unreachable', { url: withoutCredentials(base) }, error);
  }
  if (!response.ok) {
    await drop(response);
    return undefined;
  }
  let answer: unknown;
  try {
    answer = JSON.parse(await boundedText(response));
  } catch (error) {
    throw fail('share_lookup_unparsable', {}, error);
  }
  if (typeof answer !== 'object' || answer === null || !('target' in answer)) return undefined;
  return typeof answer.target === 'string' ? answer.target : undefined;
}

/** Follows redirects and returns the answer. The token is sent until the first redirect to another origin, and never after it. */
async function get(
  name: string,
  base: string,
  token: string,
  send: typeof fetch,
  signal: AbortSignal,
): Promise<Response> {
  // Converted through bytes, because encodeURIComponent throws on a lone surrogate.
  const encoded = encodeURIComponent(Buffer.from(name).toString());
  let url = new URL(`${base.replace(/\/$/, '')}/v1/share-links/${encoded}`);
  const { origin } = url;
  let trusted = true;
  for (let hops = 0; hops <= MAX_REDIRECTS; hops += 1) {
    // fetch refuses a URL with credentials in it; only the bearer token is needed.
    url.username = '';
    url.password = '';
    trusted = trusted && url.origin === origin;
    const headers: Record<string, string> = { accept: 'application/json' };
    if (trusted) headers['authorization'] = `Bearer ${token}`;
    const response = await send(url, { headers, redirect: 'manual', signal });
    const location = response.headers.get('location');
    if (!REDIRECTS.has(response.status) || location === null) return response;
    await drop(response);
    url = new URL(location, url);
    if (!/^https?:$/.test(url.protocol)) throw new Error(`redirected to ${url.protocol}, which is not HTTP`);
  }
  throw new Error(`more than ${String(MAX_REDIRECTS)} redirects`);
}

/** Cancels a body that is not read; a failed body does not matter. */
async function drop(response: Response): Promise<void> {
  await response.body?.cancel().catch(() => undefined);
}

async function boundedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  if (response.body !== null) {
    const reader: ReadableStreamDefaultReader<Uint8Array> = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      length += value.length;
      if (length > MAX_ANSWER) {
        await reader.cancel();
        throw new Error(`the answer is larger than ${String(MAX_ANSWER)} bytes`);
      }
      chunks.push(value);
    }
  }
  return Buffer.concat(chunks).toString();
}

/** Removes user and password from a URL, for texts. */
function withoutCredentials(url: string): string {
  return url.replace(/^([a-z][a-z\d+.-]*:\/\/)?[^/?#]*@/i, '$1');
}
