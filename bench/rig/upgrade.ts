// The fastest client of the streams socket: it sends the request and the first bytes of the stream in one write.
import { connect, type Socket } from 'node:net';
import { whitelisted } from '../../daemon/api/caller-env.ts';
import { asciiJson } from '../../daemon/api/header.ts';
import { defaultContract, encodeRequestFrame } from '../../daemon/bmux-ipc/ipc.ts';
import { STREAM_PROTOCOL } from '../../daemon/api/upgrade.ts';
import type { Bmuxd } from '../../test/daemon/bmuxd.ts';

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

/** Head of the HTTP request for a stream to `target`. */
export function upgradeFor(daemon: Bmuxd, target: string): string {
  const request = asciiJson({ target, contract: { epoch: 4 }, cwd: '/', env: whitelisted(daemon.env) });
  return `POST /v1/streams HTTP/1.1\r\nHost: bmuxd\r\nConnection: Upgrade\r\nUpgrade: ${STREAM_PROTOCOL}\r\nBmux-Request: ${request}${HEAD_END}`;
}

/** The same head, followed by a Ping. */
export function upgradeWithPing(daemon: Bmuxd, target: string): Buffer {
  return Buffer.concat([Buffer.from(upgradeFor(daemon, target)), PING]);
}

/** ms from the connect until `onData` returns true for the received bytes. Then the socket is ended; waiting for its close is not timed. */
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

/** ms from connecting to the streams socket to the first byte of the Ping's answer; request and Ping are one write. */
export function requestStream(daemon: Pick<Bmuxd, 'streamsPath'>, asked: Buffer): Promise<number> {
  return once(daemon.streamsPath, asked, (all) => {
    const end = all.indexOf(HEAD_END);
    return end >= 0 && all.length > end + HEAD_END.length && all.toString('latin1', 0, 12) === 'HTTP/1.1 101';
  });
}

/** ms from connecting to a server's own socket to the first byte of the Ping's answer, with a Hello before. */
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

/** Runs `once` `total` times, `width` at a time; returns runs per second. */
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
