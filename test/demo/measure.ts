// Measures one stream through the broker: from the connect to the 101, and to the answer of a first Ping.
import { openStream } from '../../client-shim/index.ts';
import { askControl } from '../../daemon/cli/ask-control.ts';
import type { Env } from '../../daemon/base/paths.ts';
import { isStatus } from '../../daemon/api/answer-shapes.ts';
import type { Transport } from '../../daemon/api/answers.ts';
import { TestClient } from '../embedded/client.ts';

/** Time limit for one stream, ms: a target's own limit is 8 s. */
const LIMIT_MS = 20_000;

export interface Timed {
  /** From the connect to the streams socket until the 101, ms: the Hello has been answered by then. */
  readonly grantedMs: number;
  /** From the same moment until the answer of a Ping that is sent after the 101, ms. */
  readonly answeredMs: number;
  /** What existed before the request, as text. */
  readonly known: string;
}

/** Rejects with the failure of the broker or of the server. */
export async function timeStream(env: Env, target: string): Promise<Timed> {
  const question = { method: 'GET', path: '/v1/status', timeoutMs: LIMIT_MS } as const;
  const { upstreams } = await askControl(env, question, isStatus);
  const before = upstreams.find((row) => row.target === target);
  const start = performance.now();
  const { stream, info } = await openStream({ env, target, clientName: 'demo', timeoutMs: LIMIT_MS });
  const grantedMs = performance.now() - start;
  const client = new TestClient(stream, { epoch: info.epoch });
  await client.ping();
  const answeredMs = performance.now() - start;
  await client.close();
  const cached = before?.epoch === undefined ? [] : ['epoch, compression'];
  return {
    grantedMs,
    answeredMs,
    known: [...(info.warm ? [WARM[info.transport]] : []), ...cached].join(', ') || '-',
  };
}

/** The meaning of `warm` for each transport: nothing had to be dialled. */
const WARM: Readonly<Record<Transport, string>> = {
  ssh: 'a spare over a warm SSH connection',
  local: 'spare',
  tls: 'spare',
  iroh: 'connection',
};
