// Opens TLS to an HTTP server, directly or in a tunnel through an HTTP proxy: one CONNECT, then TLS to the server at its other end.
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { dialAddress, serverNameOf, type VerifiedTls } from './address.ts';
import type { Proxy } from './proxy.ts';

/** Largest answer of a proxy to CONNECT, bytes; reqwest has the same limit. */
const MAX_ANSWER = 8192;
/** How every answer of a proxy begins. */
const VERSION = 'HTTP/1.';
/** What ends a head. */
const END = '\r\n\r\n';
const HTTP_1 = { ALPNProtocols: ['http/1.1'] };

/** How long a connection may take, and what it is verified by. */
export interface TunnelOptions {
  readonly verified: VerifiedTls;
  readonly signal: AbortSignal;
}

/** A TLS connection to the origin of `url`. Rejects when the server is not trusted or hangs up, and when `signal` aborts. */
export function openTls(url: URL, { verified, signal }: TunnelOptions): Promise<TLSSocket> {
  const address = dialAddress(url);
  return verified(address.host, (trust) => {
    signal.throwIfAborted();
    const socket = connectTls({ ...trust, ...address, ...HTTP_1, servername: serverNameOf(url) });
    return ready(socket, 'secureConnect', 'the connection closed in the TLS handshake', signal);
  });
}

/**
 * A TLS connection to the origin of `url` through `proxy`. Rejects when the proxy refuses, hangs up or answers something else, and when
 * `signal` aborts. There is one attempt, and a further one only for another trust anchor.
 */
export function openTunnel(url: URL, proxy: Proxy, opening: TunnelOptions): Promise<TLSSocket> {
  const { host } = dialAddress(url);
  return opening.verified(host, async (trust) => {
    const { signal } = opening;
    signal.throwIfAborted();
    const isPlain = proxy.url.protocol === 'http:';
    const socket = isPlain
      ? await ready(connectTcp(dialAddress(proxy.url)), 'connect', 'the proxy closed the connection', signal)
      : await openTls(proxy.url, opening);
    try {
      await endedBy(signal, socket, () => demandTunnel(socket, url, proxy));
    } catch (error) {
      socket.destroy();
      throw error;
    }
    const tunnel = connectTls({ ...trust, ...HTTP_1, socket, host, servername: serverNameOf(url) });
    return ready(
      tunnel,
      'secureConnect',
      'the connection through the proxy closed in the TLS handshake',
      signal,
    );
  });
}

/** Returns the socket after `event`. It is destroyed when that does not come. */
async function ready<S extends Socket>(
  socket: S,
  event: string,
  ended: string,
  signal: AbortSignal,
): Promise<S> {
  // What fails later is told by whoever uses the socket then.
  socket.on('error', () => undefined);
  try {
    await endedBy(signal, socket, () => until(socket, event, ended));
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** Waits for work on `socket`, which the abort of `signal` destroys. */
async function endedBy(signal: AbortSignal, socket: Socket, work: () => Promise<void>): Promise<void> {
  const stop = (): void => void socket.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    await work();
    signal.throwIfAborted();
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

async function demandTunnel(socket: Socket, url: URL, proxy: Proxy): Promise<void> {
  const authority = `${url.hostname}:${String(dialAddress(url).port)}`;
  const lines = [`CONNECT ${authority} HTTP/1.1`, `Host: ${authority}`];
  if (proxy.authorization !== undefined) lines.push(`Proxy-Authorization: ${proxy.authorization}`);
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  const answer = await readAnswer(socket);
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(answer)?.[1];
  if (status === '407') throw new Error('the proxy demands credentials (407)');
  if (status === undefined) throw new Error('the proxy answered CONNECT with something else than HTTP/1');
  if (status !== '200') throw new Error(`the proxy refused CONNECT to ${authority} (${status})`);
  // The server waits for the ClientHello. A proxy that refuses may explain that in a page.
  if (answer.indexOf(END) + END.length < answer.length)
    throw new Error('the proxy sent data before the tunnel was used');
}

/** Reads an answer until its head is whole, and what has come with it. */
async function readAnswer(socket: Socket): Promise<string> {
  let answer = '';
  const take = (chunk: Buffer): void => {
    answer += chunk.toString('latin1');
    if (!VERSION.startsWith(answer.slice(0, VERSION.length)))
      return void socket.destroy(new Error('the proxy answered CONNECT with something else than HTTP/1'));
    const isWhole = answer.includes(END);
    if (!isWhole && answer.length < MAX_ANSWER) return;
    socket.pause();
    if (isWhole) socket.emit('head');
    else socket.destroy(new Error('the proxy answered CONNECT with a head that does not end'));
  };
  socket.on('data', take);
  try {
    await until(socket, 'head', 'the proxy hung up without an answer to CONNECT');
    return answer;
  } finally {
    socket.off('data', take);
  }
}

/** Resolves with `event` of the socket. Rejects when the socket fails, or with `ended` when it ends first. */
function until(socket: Socket, event: string, ended: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (end: () => void): void => {
      for (const [name, listener] of Object.entries(listeners)) socket.off(name, listener);
      end();
    };
    const onEnd = (): void => settle(() => reject(new Error(ended)));
    const listeners: Record<string, (error: Error) => void> = {
      [event]: () => settle(resolve),
      error: (error) => settle(() => reject(error)),
      end: onEnd,
      close: onEnd,
    };
    for (const [name, listener] of Object.entries(listeners)) socket.on(name, listener);
  });
}
