// A target socket whose path another socket has taken: clients that have resolved the path to the old one are still served.
import { spawnSync } from 'node:child_process';
import { connect, createServer, type Server } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import t, { type Test } from 'tap';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { TargetSockets } from '../../../daemon/engine/accept/target-sockets.ts';
import type { Destination } from '../../../daemon/engine-protocol/plan.ts';
import { OwnClients } from '../../../daemon/sockets/own-clients.ts';
import { holdTimers, type HeldTimers } from '../../base/async/held-timers.ts';

async function listening(t: Test, path: string): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.teardown(() => server.close());
  return server;
}

interface Taken {
  readonly oldPath: string;
  readonly old: Server;
  readonly next: Server;
  readonly sockets: TargetSockets;
  readonly timers: HeldTimers;
  readonly served: () => number;
}

/** A target socket whose path another one has just taken. Timers are held. */
async function taken(t: Test): Promise<Taken> {
  const folder = await mkdtemp(join(tmpdir(), 'taken-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const log = pino({ enabled: false });
  let served = 0;
  const sockets = new TargetSockets({
    serve: (_plan, socket) => {
      served += 1;
      socket.destroy();
    },
    destinationOf: () => Promise.resolve(undefined),
    hasControl: () => false,
    refer: () => undefined,
    move: () => undefined,
    unrefer: () => undefined,
    clients: new OwnClients({ log, folders: [folder] }),
    log,
  });
  const destination: Destination = {
    address: 'here',
    label: 'here',
    route: { transport: 'local', socketPath: '/s' },
    compression: ['none'],
    compressionStated: false,
    connectTimeoutMs: 8000,
    warnings: [],
    context: 'default',
    runtime: { name: 'default', socket: '/s' },
  };
  const plan = { destination, principal: { id: 'p' } };
  const oldPath = join(folder, 'a');
  const [old, next] = [await listening(t, oldPath), await listening(t, join(folder, 'b'))];
  sockets.listen('id', plan, old);
  const timers = holdTimers(t);
  sockets.listen('id', plan, next);
  return { oldPath, old, next, sockets, timers, served: () => served };
}

t.test('the old socket accepts until its limit', async (t) => {
  const { oldPath, old, next, sockets, timers, served } = await taken(t);
  await timers.pass(LIMITS.takenOverMs - 1);
  connect(oldPath).on('error', () => undefined);
  await timers.until('its client to be served', () => served() === 1);
  await timers.pass(1);
  await timers.until('the old socket to be closed', () => !old.listening);
  t.equal(next.listening, true);
  sockets.closeAll();
});

t.test('a process that did not run until then accepts all clients in the queue first', async (t) => {
  const { oldPath, old, sockets, timers, served } = await taken(t);
  // From here on no socket is read: a timer that is due comes first, as in a process that did not run.
  await new Promise((resolve) => setImmediate(resolve));
  // The event loop accepts one connection of a socket in each round.
  const client = `const { connect } = require('node:net'); let left = 5;
    for (let i = 0; i < 5; i++) connect(process.argv[1]).on('connect', () => (left -= 1) || process.exit())`;
  t.equal(spawnSync(process.execPath, ['-e', client, oldPath]).status, 0);
  await timers.pass(LIMITS.takenOverMs);
  // On a busy machine the timer is so late that it is set once more, for a second.
  await timers.pass(1000);
  await timers.until('the old socket to be closed', () => !old.listening);
  t.equal(served(), 5);
  sockets.closeAll();
});
