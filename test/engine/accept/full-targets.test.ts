// Requests that cost control no plan: those for a target that is full, and those whose client has gone.
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import t, { type Test } from 'tap';
import { FullTargets } from '../../../daemon/engine/accept/full-targets.ts';
import { StreamRequests } from '../../../daemon/engine/accept/stream-requests.ts';
import { FairBound } from '../../../daemon/engine/accept/fair-bound.ts';
import { fail } from '../../../daemon/errors/fail.ts';
import { OwnClients } from '../../../daemon/sockets/own-clients.ts';
import { planFor } from '../../hello/opener.ts';
import { waitFor } from '../../real/index.ts';
import { Incoming, requestHead } from '../../streams/requests.ts';

const PLAN = planFor({ transport: 'local', socketPath: '/none/server.sock' });
const BUSY = fail('target_busy', { count: 1, label: 'mute' });

t.test('it is believed while the server is full, and for a quarter of a second', async (t) => {
  let now = 0;
  let isFull = true;
  const full = new FullTargets({ isFull: () => isFull, now: () => now });
  const told: string[] = [];
  const client = full.noting('a', PLAN, { refused: ({ code }) => void told.push(code) });
  client.refused(fail('stopping'));
  t.equal(full.refusal('a'), undefined, 'another refusal says nothing of the next request');
  client.refused(BUSY);
  t.same(told, ['stopping', 'target_busy']);
  t.equal(full.refusal('a'), BUSY);
  t.equal(full.refusal('b'), undefined, 'a request of other content has to be planned');
  now = 249;
  t.equal(full.refusal('a'), BUSY);
  now = 250;
  t.equal(full.refusal('a'), undefined, 'it may lead elsewhere now');
  client.refused(BUSY);
  isFull = false;
  t.equal(full.refusal('a'), undefined, 'there is room');
});

/** Accepts requests, whose server is full. */
async function serve(t: Test): Promise<{
  readonly path: string;
  readonly planned: () => number;
  readonly requested: () => number;
}> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-'));
  const log = pino({ enabled: false });
  let planned = 0;
  let requested = 0;
  const requests = new StreamRequests({
    plan: () => {
      planned += 1;
      return Promise.resolve(PLAN);
    },
    streams: {
      add: ({ client }) => {
        client.refused(BUSY);
      },
      isFull: () => true,
    },
    health: () => ({ schema: 1, pid: 1, generation: 'g', version: '0.1.0', sinceMs: 0 }),
    planning: new FairBound({ perKey: () => 100, total: 1000 }),
    onIdle: () => undefined,
    clients: new OwnClients({ log, folders: [folder] }),
    tally: { requested: () => (requested += 1), refused: () => undefined },
    event: () => undefined,
    log,
  });
  const path = join(folder, 'streams.sock');
  const server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  requests.listen(server);
  t.teardown(async () => {
    requests.close();
    await rm(folder, { recursive: true });
  });
  return { path, planned: () => planned, requested: () => requested };
}

/** A request that waits for its answer. */
async function refused(path: string, more: object): Promise<void> {
  const client = new Incoming(path);
  client.socket.write(requestHead({ env: {} }, more));
  const { status } = await client.answer();
  client.socket.destroy();
  if (status !== 503) throw new Error(`answered with ${status}`);
}

t.test('a further request is refused without a plan', async (t) => {
  const { path, planned } = await serve(t);
  await waitFor('two refusals within the time for which the first is believed', async () => {
    const before = planned();
    await refused(path, { target: 'mute' });
    await refused(path, { target: 'mute' });
    return planned() - before < 2;
  });
  t.ok(planned() > 0);
});

t.test(
  'a request whose client has gone gets no plan, and one that has ended its own side gets one',
  async (t) => {
    const { path, planned, requested } = await serve(t);
    const program = `
    const [path, head] = process.argv.slice(1);
    for (let at = 0; at < 20; at += 1) {
      const socket = require('node:net').connect(path);
      socket.on('error', () => undefined).write(head, () => socket.destroy());
    }`;
    const head = requestHead({ env: {} }, { target: 'left' }).toString();
    // This process accepts nothing while the other one runs.
    execFileSync(process.execPath, ['-e', program, path, head], { timeout: 60_000 });
    const half = new Incoming(path);
    half.socket.end(requestHead({ env: {} }, { target: 'half' }));
    t.equal((await half.answer()).status, 503);
    half.socket.destroy();
    await refused(path, { target: 'another' });
    t.equal(planned(), 2);
    t.equal(requested(), 2, 'no head of those that had gone was read');
  },
);
