// Opens a tunnel through an HTTP proxy: one CONNECT, then TLS to the server at its other end.
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { addressOf, serverNameOf, type TlsTrust } from './address.ts';
import type { Proxy } from './proxy.ts';

/** Largest answer of a proxy to CONNECT, bytes; reqwest has the same limit. */
const MAX_ANSWER = 8192;

/**
 * A TLS connection to the origin of `url` through `proxy`. Rejects when the proxy refuses, hangs up or answers something else, and when
 * `signal` aborts. There is one attempt.
 */
export async function openTunnel(
  url: URL,
  proxy: Proxy,
  trust: TlsTrust,
  signal: AbortSignal,
): Promise<TLSSocket> {
  signal.throwIfAborted();
  const address = addressOf(proxy.url);
  const isPlain = proxy.url.protocol === 'http:';
  const socket = isPlain
    ? connectTcp(address)
    : connectTls({ ...trust, ...address, servername: serverNameOf(proxy.url) });
  // What fails later is told by the TLS connection that is made on this socket.
  socket.on('error', () => undefined);
  const stop = (): void => void socket.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    await until(socket, isPlain ? 'connect' : 'secureConnect', 'the proxy closed the connection');
    await demandTunnel(socket, url, proxy);
    const { host } = addressOf(url);
    const tunnel = connectTls({ ...trust, socket, host, servername: serverNameOf(url) });
    tunnel.on('error', () => undefined);
    await until(tunnel, 'secureConnect', 'the connection through the proxy closed in the TLS handshake');
    return tunnel;
  } catch (error) {
    socket.destroy();
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

async function demandTunnel(socket: Socket, url: URL, proxy: Proxy): Promise<void> {
  const authority = `${url.hostname}:${String(addressOf(url).port)}`;
  const lines = [`CONNECT ${authority} HTTP/1.1`, `Host: ${authority}`];
  if (proxy.authorization !== undefined) lines.push(`Proxy-Authorization: ${proxy.authorization}`);
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(await readHead(socket))?.[1];
  if (status === '407') throw new Error('the proxy demands credentials (407)');
  if (status === undefined) throw new Error('the proxy answered CONNECT with something else than HTTP/1');
  if (status !== '200') throw new Error(`the proxy refused CONNECT to ${authority} (${status})`);
}

/** Reads the head of an answer. Nothing may follow it, because the server waits for the ClientHello. */
async function readHead(socket: Socket): Promise<string> {
  let head = '';
  const take = (chunk: Buffer): void => {
    head += chunk.toString('latin1');
    const end = head.indexOf('\r\n\r\n');
    if (end < 0 && head.length < MAX_ANSWER) return;
    socket.pause();
    if (end < 0) socket.destroy(new Error('the proxy answered CONNECT with a head that does not end'));
    else if (end + 4 < head.length)
      socket.destroy(new Error('the proxy sent data before the tunnel was used'));
    else socket.emit('head');
  };
  socket.on('data', take);
  try {
    await until(socket, 'head', 'the proxy hung up without an answer to CONNECT');
    return head;
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
