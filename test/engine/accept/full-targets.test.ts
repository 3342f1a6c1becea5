// A flood of requests for a target that is full costs control no plans.
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import t from 'tap';
import { FullTargets } from '../../../daemon/engine/accept/full-targets.ts';
import { StreamRequests } from '../../../daemon/engine/accept/stream-requests.ts';
import { FairBound } from '../../../daemon/engine/accept/fair-bound.ts';
import { Tally } from '../../../daemon/engine/metrics/tally.ts';
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

t.test('a further request is refused without a plan', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-'));
  const log = pino({ enabled: false });
  let planned = 0;
  const socket = new StreamRequests({
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
    planning: new FairBound({ perKey: () => 1, total: 1 }),
    onIdle: () => undefined,
    clients: new OwnClients({ log, folders: [folder] }),
    tally: new Tally('g'),
    log,
  });
  const path = join(folder, 'streams.sock');
  const server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  socket.listen(server);
  t.teardown(async () => {
    socket.close();
    await rm(folder, { recursive: true });
  });
  const refused = async (): Promise<void> => {
    const client = new Incoming(path);
    client.socket.write(requestHead({ env: {} }, { target: 'mute' }));
    t.equal((await client.answer()).status, 503);
    client.socket.destroy();
  };
  await waitFor('two refusals within the time for which the first is believed', async () => {
    const before = planned;
    await refused();
    await refused();
    return planned - before < 2;
  });
  t.ok(planned > 0);
});
