// The streams socket as fast as a client can use it: the request and its first bytes in one write.
import { connect, type Socket } from 'node:net';
import { whitelisted } from '../daemon/api/caller-env.ts';
import { asciiJson } from '../daemon/api/header.ts';
import { defaultContract, encodeRequestFrame } from '../daemon/bmux-ipc/ipc.ts';
import { STREAM_PROTOCOL } from '../daemon/api/upgrade.ts';
import type { Bmuxd } from '../test/daemon/bmuxd.ts';

const PING = encodeRequestFrame(4, 2n, { type: 'ping' });
/** A Hello of epoch 4. */
export const HELLO = encodeRequestFrame(4, 1n, {
  type: 'hello',
  contract: defaultContract(4),
  clientName: 'bench',
  principalId: 'ebbce66c-743f-4b20-a1d9-2647d1ba8d3a',
});
const HEAD_END = '\r\n\r\n';
/** ms for one stream. */
const LIMIT_MS = 20_000;

/** The head of a request for `target`. */
export function upgradeFor(daemon: Bmuxd, target: string): string {
  const request = asciiJson({ target, contract: { epoch: 4 }, cwd: '/', env: whitelisted(daemon.env) });
  return `POST /v1/streams HTTP/1.1\r\nHost: bmuxd\r\nConnection: Upgrade\r\nUpgrade: ${STREAM_PROTOCOL}\r\nBmux-Request: ${request}${HEAD_END}`;
}

/** The same with a Ping behind it. */
export function upgradeWithPing(daemon: Bmuxd, target: string): Buffer {
  return Buffer.concat([Buffer.from(upgradeFor(daemon, target)), PING]);
}

/** Connects, lets `onData` look at what comes until it is satisfied; ms. The socket is ended, and its end is waited for untimed. */
async function once(
  path: string,
  first: Buffer,
  onData: (all: Buffer, socket: Socket) => boolean,
): Promise<number> {
  const start = performance.now();
  const socket = connect(path);
  let all: Buffer = Buffer.alloc(0);
  let ms: number | undefined;
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`no answer within ${String(LIMIT_MS)} ms`));
    }, LIMIT_MS);
    socket.write(first);
    socket.on('data', (chunk: Buffer) => {
      if (ms !== undefined) return;
      all = all.length === 0 ? chunk : Buffer.concat([all, chunk]);
      if (!onData(all, socket)) return;
      ms = performance.now() - start;
      socket.end();
    });
    socket.once('error', reject);
    socket.once('close', () => {
      clearTimeout(timer);
      if (ms === undefined)
        reject(new Error(`the stream ended early: ${all.toString('latin1').slice(0, 300)}`));
      else resolve();
    });
  });
  return ms ?? NaN;
}

/** Connect to the streams socket, request and Ping in one write, first byte of the answer: ms. */
export function requestStream(daemon: Pick<Bmuxd, 'streamsPath'>, asked: Buffer): Promise<number> {
  return once(daemon.streamsPath, asked, (all) => {
    const end = all.indexOf(HEAD_END);
    return end >= 0 && all.length > end + HEAD_END.length && all.toString('latin1', 0, 12) === 'HTTP/1.1 101';
  });
}

/** Connect to a server's own socket, Hello, its answer, Ping, first byte of the answer: ms. */
export function plainPing(path: string): Promise<number> {
  let hello = 0;
  return once(path, HELLO, (all, socket) => {
    if (hello === 0 && all.length >= 4 && all.length >= 4 + all.readUInt32LE(0)) {
      hello = 4 + all.readUInt32LE(0);
      socket.write(PING);
    }
    return hello > 0 && all.length > hello;
  });
}

/** Runs `once` `total` times, `width` of them at a time; gives how many per second. */
export async function perSecond(total: number, width: number, once: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  let left = total;
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (left-- > 0) await once();
    }),
  );
  return total / ((performance.now() - start) / 1000);
}
