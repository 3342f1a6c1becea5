// Records the requests that the real CLI sends to a server, so that other clients can send exactly the same.
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeFrame, FrameReader } from '../../daemon/bmux-ipc/frame.ts';
import { decodeEnvelope, decodeRequest } from '../../daemon/bmux-ipc/ipc.ts';
import { bmuxOrThrow, run, type RealServer } from './server.ts';

/** Frames as sent over the wire, without the Hello. Each is sent after the answer to the previous one. */
export type Question = readonly Buffer[];

/** Runs `bmux` with `args` through a recording relay. When it opens several connections, the requests of the last one are returned. */
export async function learn(
  server: Pick<RealServer, 'env' | 'socketPath'>,
  args: readonly string[],
): Promise<Question> {
  const program = bmuxOrThrow();
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-question-'));
  const heard: Buffer[][] = [];
  const sockets = new Set<Socket>();
  const relay = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ path: server.socketPath, allowHalfOpen: true });
    const chunks: Buffer[] = [];
    heard.push(chunks);
    near.on('data', (chunk: Buffer) => chunks.push(chunk));
    near.pipe(far);
    far.pipe(near);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => sockets.delete(socket));
    }
  });
  await new Promise<void>((resolve) => relay.listen(join(folder, 'server.sock'), resolve));
  try {
    const ran = await run(program, args, { ...server.env, BMUX_RUNTIME_DIR: folder });
    if (ran.status !== 0) throw new Error(`bmux ${args.join(' ')}: ${ran.stderr}`);
    return requestsOf(Buffer.concat(heard.at(-1) ?? []));
  } finally {
    for (const socket of sockets) socket.destroy();
    relay.close();
    await rm(folder, { recursive: true, force: true });
  }
}

function requestsOf(bytes: Buffer): Question {
  const reader = new FrameReader();
  reader.push(bytes);
  const frames: Buffer[] = [];
  for (let payload = reader.next(); payload !== undefined; payload = reader.next()) {
    const envelope = decodeEnvelope(payload);
    const isHello = decodeRequest(4, envelope.payload).type === 'hello';
    if (envelope.kind === 'request' && !isHello) frames.push(encodeFrame(payload));
  }
  if (frames.length === 0) throw new Error('bmux sent no request');
  return frames;
}
