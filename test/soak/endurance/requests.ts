// One request to a target: over the control socket or the target socket, repeatable or not, or from the real bmux.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { FrameReader } from '../../../daemon/bmux-ipc/frame.ts';
import { decodeEnvelope, decodeRequest, type Request } from '../../../daemon/bmux-ipc/ipc.ts';
import type { Bmuxd } from '../../daemon/bmuxd.ts';
import { connected } from '../../target-sockets/target-socket.ts';
import { TestClient } from '../../embedded/client.ts';
import { realBmux, run, type Question } from '../../real/index.ts';
import { SESSION, type FarGateway } from './far-gateway.ts';

/** Time limit to get a stream, ms: a target's 8 s, 8 s for the expected answer, and 8 s more for a repeatable request. */
export const LIMIT_MS = 25_000;
/** Time until a stream on a dead path ends, ms: QUIC gives up after 30 s, and the stream is not cut before. */
export const LIVE_LIMIT_MS = 36_000;

/** How long a client with its answer waits for the peer's end, ms. */
const LEAVE_MS = 1000;

/** The target and the daemon of a request. */
export interface RequestInput {
  readonly bmuxd: Pick<Bmuxd, 'open' | 'env'>;
  readonly gateway: Pick<FarGateway, 'target' | 'sessions'>;
  /** Output of `bmuxd env` for the target. */
  readonly targetSocketEnv: Readonly<Record<string, string>>;
  /** Called when the client has its stream. */
  readonly granted: () => void;
}

/** Each rejects with the error that the client sees. */
export const WAYS = {
  'control socket': async (asked: RequestInput) => converse(await overControl(asked), look),
  'target socket': async (asked: RequestInput) => converse(await overTargetSocket(asked), look),
  'control socket, once': async (asked: RequestInput) => converse(await overControl(asked), once(asked)),
  'target socket, once': async (asked: RequestInput) => converse(await overTargetSocket(asked), once(asked)),
  'real bmux': listSessions,
} as const;
export type Way = keyof typeof WAYS;

type Talk = (client: TestClient) => Promise<void>;

async function overControl({ bmuxd, gateway: { target }, granted }: RequestInput): Promise<TestClient> {
  const { stream, info } = await bmuxd.open({ target, env: bmuxd.env, timeoutMs: LIMIT_MS });
  granted();
  return new TestClient(stream, { epoch: info.epoch, limitMs: LIVE_LIMIT_MS });
}

/** Like an unmodified client, it sends the Hello itself. */
export async function overTargetSocket({
  targetSocketEnv,
  granted,
}: Pick<RequestInput, 'targetSocketEnv' | 'granted'>): Promise<TestClient> {
  const socket = await connected(join(targetSocketEnv['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'));
  const client = new TestClient(socket, { limitMs: LIVE_LIMIT_MS });
  try {
    await client.hello();
    granted();
    return client;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

async function converse(client: TestClient, talk: Talk): Promise<void> {
  try {
    await talk(client);
    await leave(client);
  } finally {
    client.stream.destroy();
  }
}

/** Ends a client that has its answer. It waits for the peer's end no longer than a command would, because the path may be dead. */
export async function leave(client: TestClient): Promise<void> {
  const ended = client.close().catch(() => undefined);
  await Promise.race([ended, setTimeout(LEAVE_MS)]);
  client.stream.destroy();
}

async function look(client: TestClient): Promise<void> {
  await client.ping();
  await client.serverStatus();
}

/** Requests that may change something, so the daemon must not repeat them. */
function once({ gateway: { sessions } }: RequestInput): Talk {
  return async (client) => {
    if (sessions === undefined) {
      const said = randomBytes(100);
      if (!(await client.echo(said)).equals(said)) throw new Error('the echo is not what was said');
      return;
    }
    let answers = '';
    for (const request of requestsOf(sessions)) {
      const answer = await client.request(request);
      if (answer.type === 'other') answers += Buffer.from(answer.body).toString('latin1');
    }
    if (!answers.includes(SESSION)) throw new Error(`the sessions are ${JSON.stringify(answers)}`);
  };
}

function requestsOf(question: Question): Request[] {
  const reader = new FrameReader();
  return question.map((frame) => {
    reader.push(frame);
    return decodeRequest(4, decodeEnvelope(reader.next() ?? Buffer.alloc(0)).payload);
  });
}

async function listSessions({ targetSocketEnv }: RequestInput): Promise<void> {
  const { status, stdout, stderr } = await run(realBmux() ?? '', ['list-sessions'], targetSocketEnv);
  if (status !== 0 || !stdout.includes(SESSION))
    throw new Error(`bmux left with ${String(status)}: ${stderr}${stdout}`);
}
