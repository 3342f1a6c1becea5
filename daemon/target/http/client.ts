// HTTP for lookups at the control plane: GET alone, directly or through a proxy, with the rules of reqwest, the HTTP library of bmux. It is
// built on `node:http`: `fetch` refuses some ports, and repeats a tunnel that a proxy closes without an end.
import {
  request as httpRequest,
  type Agent as HttpAgent,
  type ClientRequest,
  type IncomingMessage,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import { sleep } from '../../base/async/sleep.ts';
import { errnoOf, textOf } from '../../base/failure.ts';
import { dialAddress, serverNameOf, type VerifiedTls } from './address.ts';
import { newAgent } from './agents.ts';
import { assertSupported, proxyFor, type Proxy } from './proxy.ts';
import { openTls, openTunnel } from './tunnel.ts';

/** Largest head of an answer, bytes. */
const MAX_HEAD = 1024 * 1024;
/** Headers of an answer; hyper has the same limit. */
const MAX_HEADERS = 100;
/** ms of silence on a kept connection after which the request is sent on a new one as well: after a change of network the former stays silent. */
const SILENT_MS = 1500;
/** The status with which a server ends a connection on which it waits for a request. */
const REQUEST_TIMEOUT = 408;

export interface HttpAnswer {
  readonly status: number;
  /** The header of a redirect. */
  readonly location: string | undefined;
  /** Reads the body. Rejects when it is larger than `limit` bytes or breaks off. */
  readonly text: (limit: number) => Promise<string>;
  /** Ends the answer without reading the body. */
  readonly drop: () => void;
}

/** A list stands for a header of several lines. */
export type HttpHeaders = Readonly<Record<string, string | string[]>>;

/** One GET. `signal` ends it, the body included. `onWay` is told first by which proxy it is sent, in words for the end of an error text. */
export type HttpGet = (
  url: URL,
  headers: HttpHeaders,
  signal: AbortSignal,
  onWay?: (way: string) => void,
) => Promise<HttpAnswer>;

export interface HttpClientOptions {
  /** The proxy variables are read from it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Verifies the certificates of servers, and of proxies with https. Default: the platform. */
  readonly verified?: VerifiedTls | undefined;
}

/** What a request needs besides URL and headers. */
interface HttpRoute {
  readonly agent: HttpAgent;
  readonly proxy: Proxy | undefined;
  readonly verified: VerifiedTls;
  /** See `LENIENT`. */
  readonly lenient?: boolean;
}

/**
 * Errors of Node's parser at answers that bmux reads: lines that end without CR, a length that is told twice or beside a transfer in chunks, spaces
 * behind the size of a chunk, and an answer behind a 100 that says `Connection: close`. The request is sent once more then, and its answer mended and
 * read by Node's lenient parser.
 */
const LENIENT: ReadonlySet<string> = new Set([
  'HPE_CR_EXPECTED',
  'HPE_INVALID_CONTENT_LENGTH',
  'HPE_UNEXPECTED_CONTENT_LENGTH',
  'HPE_INVALID_TRANSFER_ENCODING',
  'HPE_INVALID_CHUNK_SIZE',
  'HPE_CLOSED_CONNECTION',
]);

const isLenient = (error: unknown): boolean => LENIENT.has(errnoOf(error) ?? '');

export class HttpClient {
  readonly #options: HttpClientOptions;
  /** By kind of connection and URL of the proxy. There are few, because the proxies are those of one environment. */
  readonly #agents = new Map<string, HttpAgent>();

  constructor(options: HttpClientOptions) {
    this.#options = options;
  }

  /**
   * Sends one GET, and a second one only when a kept connection turns out to be closed, which the server may have done meanwhile, or when the
   * answer is one of `LENIENT`.
   */
  readonly get: HttpGet = async (url, headers, signal, onWay = () => undefined) => {
    const proxy = proxyFor(url, this.#options.env);
    if (proxy !== undefined) assertSupported(proxy);
    const verified = this.#options.verified ?? ((_host, connect) => connect({}));
    // The address of a proxy alone says nothing to who has forgotten the variable.
    const way = proxy === undefined ? '' : `; asked through the proxy ${proxy.url.origin}`;
    onWay(way);
    try {
      return await this.#send(url, headers, signal, { proxy, verified });
    } catch (error) {
      if (signal.aborted || way === '') throw error;
      throw new Error(`${textOf(error)}${way}`, { cause: error });
    }
  };

  /** Closes the connections that are kept. */
  close(): void {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  async #send(
    url: URL,
    headers: HttpHeaders,
    signal: AbortSignal,
    { proxy, verified }: Pick<HttpRoute, 'proxy' | 'verified'>,
  ): Promise<HttpAnswer> {
    const agent = this.#agentOf(url, proxy);
    const again = (lenient: boolean, until = signal): Promise<IncomingMessage> => {
      const once = newAgent({ isTls: isTls(url, proxy), once: true, lenient });
      return send(url, headers, until, { agent: once, proxy, verified, lenient }).answer;
    };
    const given = new AbortController();
    const first = send(url, headers, AbortSignal.any([signal, given.signal]), { agent, proxy, verified });
    try {
      const answer = first.isKept
        ? await orElse(first.answer, given, (until) => again(false, AbortSignal.any([signal, until])))
        : await first.answer;
      // The server gave the connection up while the request was under way (RFC 9110, 15.5.9).
      if (first.isKept && answer.statusCode === REQUEST_TIMEOUT) {
        answer.on('error', () => undefined).destroy();
        throw new StaleConnection('the server has given the connection up');
      }
      return answerOf(answer, () => again(true));
    } catch (error) {
      if ((!isLenient(error) && !(error instanceof StaleConnection)) || signal.aborted) throw error;
      return answerOf(await again(isLenient(error)));
    }
  }

  #agentOf(url: URL, proxy: Proxy | undefined): HttpAgent {
    const key = `${url.protocol} ${proxy?.authorization ?? ''} ${proxy?.url.href ?? ''}`;
    const options = { isTls: isTls(url, proxy), once: false, lenient: false };
    const agent = this.#agents.get(key) ?? newAgent(options);
    this.#agents.set(key, agent);
    return agent;
  }
}

/** Whether TLS is spoken with the first hop, which may be the proxy. */
const isTls = (url: URL, proxy: Proxy | undefined): boolean =>
  url.protocol === 'https:' || proxy?.url.protocol === 'https:';

/** A kept connection ended before it brought an answer. */
class StaleConnection extends Error {}

/** `first`, or the answer of `second` when that comes earlier. The other request is ended. */
function orElse(
  first: Promise<IncomingMessage>,
  ofFirst: AbortController,
  second: (signal: AbortSignal) => Promise<IncomingMessage>,
): Promise<IncomingMessage> {
  const ofSecond = new AbortController();
  let isSecond = false;
  const later = (async () => {
    try {
      await sleep(SILENT_MS, ofSecond.signal);
      const answer = await second(ofSecond.signal);
      isSecond = true;
      ofFirst.abort();
      return answer;
    } catch {
      return first;
    }
  })();
  const over = first.finally(() => {
    // The body of the second answer may not have come yet.
    if (!isSecond) ofSecond.abort();
  });
  return Promise.race([over, later]);
}

/** A request that is under way. */
interface Sent {
  readonly answer: Promise<IncomingMessage>;
  /** Whether it is sent on a connection that has brought an answer before. */
  readonly isKept: boolean;
}

function send(url: URL, headers: HttpHeaders, signal: AbortSignal, route: HttpRoute): Sent {
  const request = begin(url, { ...headers, host: url.host }, signal, route);
  return { answer: answerTo(request), isKept: request.reusedSocket };
}

function answerTo(request: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void =>
      reject(request.reusedSocket ? new StaleConnection(error.message, { cause: error }) : error);
    const take = (message: IncomingMessage): void => {
      const problem = headProblem(message);
      if (problem === undefined) {
        // Node takes a body that is cut by a reset for a whole one, where its length is not given.
        // What follows a whole body is no part of it.
        request.on('error', (error) => message.complete || message.destroy(error));
        return resolve(message);
      }
      reject(new Error(problem));
      message.on('error', () => undefined).destroy();
    };
    request.on('response', take);
    // Status 101: what the server would speak then is of no use here.
    request.on('upgrade', (message, socket) => {
      socket.destroy();
      take(message);
    });
    request.on('error', failed);
    // Comes last. It settles a request that had neither an answer nor an error.
    request.on('close', () => failed(new Error('the connection closed without an answer')));
    request.end();
  });
}

/** What bmux refuses in the head of an answer, and the parser of Node does not. */
function headProblem(message: IncomingMessage): string | undefined {
  const { httpVersion, statusCode = 0, statusMessage = '', headers, rawHeaders } = message;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return `the answer is of HTTP/${httpVersion}`;
  if (statusCode < 100) return `the answer has the status ${String(statusCode)}`;
  if (httpVersion === '1.0' && headers['transfer-encoding'] !== undefined)
    return 'the answer of HTTP/1.0 has a transfer encoding';
  if ([statusMessage, ...rawHeaders].some((text) => /[^\t\x20-\x7e\x80-\xff]/.test(text)))
    return 'the head of the answer has a control character';
  return rawHeaders.length / 2 > MAX_HEADERS
    ? `the answer has more than ${String(MAX_HEADERS)} headers`
    : undefined;
}

function begin(
  url: URL,
  headers: HttpHeaders,
  signal: AbortSignal,
  { agent, proxy, verified, lenient = false }: HttpRoute,
): ClientRequest {
  const path = `${url.pathname}${url.search}`;
  const common = { agent, signal, maxHeaderSize: MAX_HEAD, insecureHTTPParser: lenient };
  const opening = { verified, signal };
  if (url.protocol === 'https:') {
    const options = { ...dialAddress(url), servername: serverNameOf(url), path, headers, ...common };
    const open = (): Promise<Duplex> =>
      proxy === undefined ? openTls(url, opening) : openTunnel(url, proxy, opening);
    // Only the agent reads `open`: Node hands it all options of the request.
    return httpsRequest(Object.assign(options, { open }));
  }
  if (proxy === undefined) return httpRequest({ ...dialAddress(url), path, headers, ...common });
  const { authorization } = proxy;
  const options = {
    ...dialAddress(proxy.url),
    path: `${url.origin}${path}`,
    headers: { ...headers, ...(authorization === undefined ? {} : { 'proxy-authorization': authorization }) },
    ...common,
  };
  if (proxy.url.protocol === 'http:') return httpRequest(options);
  const open = (): Promise<Duplex> => openTls(proxy.url, opening);
  return httpsRequest(Object.assign(options, { servername: serverNameOf(proxy.url), open }));
}

function answerOf(message: IncomingMessage, again?: () => Promise<IncomingMessage>): HttpAnswer {
  return {
    status: message.statusCode ?? 0,
    location: message.headers.location,
    text: async (limit) => {
      try {
        return await bodyOf(message, limit);
      } catch (error) {
        if (!isLenient(error) || again === undefined) throw error;
        const other = await again();
        if (other.statusCode === message.statusCode) return bodyOf(other, limit);
        other.on('error', () => undefined).destroy();
        throw error;
      }
    },
    drop: () => void message.on('error', () => undefined).destroy(),
  };
}

async function bodyOf(message: IncomingMessage, limit: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limit) throw new Error(`the answer is larger than ${String(limit)} bytes`);
    chunks.push(chunk);
  }
  // Bytes that are no UTF-8 are an error, as in bmux, and so is a byte order mark in JSON.
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
}
