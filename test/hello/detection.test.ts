// Protocol detection against a model of servers that bound their connections.
import { duplexPair, type Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { Deadline } from '../../daemon/base/async/deadline.ts';
import type { Epoch } from '../../daemon/bmux-ipc/epoch.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import type { Candidate, Stage } from '../../daemon/hello/candidates.ts';
import { detectProtocol } from '../../daemon/hello/detection.ts';
import type { Greeting } from '../../daemon/hello/hello-cache.ts';
import { endGracefully } from '../../daemon/transport/end.ts';
import { defaultContract, encodeResponseFrame } from '../../daemon/bmux-ipc/ipc.ts';
import { holdTime } from '../base/async/held-timers.ts';
import { detectionFindsWhatAnswers } from './model.ts';

t.test('detection finds the protocol of any server of the model, and ends all other streams', async (t) => {
  await detectionFindsWhatAnswers(100);
  t.pass();
});

const greeting = (epoch: Epoch): Greeting => ({
  contract: defaultContract(epoch),
  clientName: 'test',
  principalId: 'ebbce66c-743f-4b20-a1d9-2647d1ba8d3a',
});
const COMMON = {
  wanted: undefined,
  signal: new AbortController().signal,
  subject: { label: 'prod', runtime: { name: 'default', socket: '/s' }, mayWantAuth: false },
  greetings: { 3: greeting(3), 4: greeting(4) },
  ends: { end: (ending: Duplex) => endGracefully(ending), keep: () => undefined },
} as const;
const ANSWER = encodeResponseFrame(4, 1n, {
  type: 'hello_negotiated',
  negotiated: { wireEpoch: 4, revision: 1, capabilities: [...defaultContract(4).capabilities] },
});

t.test('when all streams are silent, each candidate is tried alone while there is time', async (t) => {
  // A full server closes the connection before it has read the Hello. A TLS gateway turns that into silence. Here the server became full
  // because all candidates were tried at once.
  const stage: Stage = [
    { epoch: 4, compression: 'zstd' },
    { epoch: 4, compression: 'none' },
  ];
  let dials = 0;
  const open = async (): Promise<{ stream: Duplex }> => {
    dials += 1;
    const answers = dials > stage.length;
    // A dial takes time, so that detection waits for the streams.
    await pause(10);
    const [stream, far] = duplexPair();
    far.resume().once('end', () => far.end());
    if (answers) far.once('data', () => far.write(ANSWER));
    return { stream };
  };
  const { stream, candidate } = await detectProtocol({
    ...COMMON,
    deadline: new Deadline(8000),
    stages: [stage],
    opener: { open },
  });
  t.strictSame(candidate, stage[0]);
  await endGracefully(stream);
});

t.test('beside the likeliest candidate, when it is silent, another one is tried', async (t) => {
  const timers = holdTime(t);
  const asked: Candidate[] = [];
  const far: Duplex[] = [];
  const open = (candidate: Candidate): Promise<{ stream: Duplex }> => {
    asked.push(candidate);
    const [stream, other] = duplexPair();
    far.push(other.resume());
    return Promise.resolve({ stream });
  };
  const likeliest: Candidate = { epoch: 4, compression: 'zstd' };
  const next: Candidate = { epoch: 4, compression: 'none' };
  const detecting = detectProtocol({
    ...COMMON,
    deadline: new Deadline(10 * LIMITS.hedgeMs),
    stages: [[likeliest], [next]],
    opener: { open },
  });
  await timers.pass(LIMITS.hedgeMs / 2);
  t.strictSame(asked, [likeliest]);
  await timers.pass(LIMITS.hedgeMs / 2);
  t.strictSame(asked, [likeliest, next]);
  far[1]?.write(ANSWER);
  const { stream, candidate } = await detecting;
  timers.release();
  t.strictSame(candidate, next);
  await endGracefully(stream);
});
