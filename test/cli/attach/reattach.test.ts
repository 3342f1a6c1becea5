// Tests `bmuxd exec --reattach` with a client of a target socket: when the client is started again, and when that is over.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { StreamList } from '../../../daemon/api/answers.ts';
import { defaultContract, encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import { BMUXD } from '../../daemon/bmuxd.ts';
import { selfSigned } from '../../embedded/certificate.ts';
import { startWorld, type World } from '../../engine/world.ts';
import { waitFor } from '../../real/index.ts';

t.setTimeout(300_000);

/** Says Hello, writes `up` at the first answer, and leaves with status 0 when the server has ended, as `bmux attach` does. A SIGUSR1 makes it end its side. */
const CLIENT = `const s = require('net').connect(process.env.BMUX_RUNTIME_DIR + '/server.sock');
s.write(Buffer.from(process.argv[1], 'hex')); s.once('data', () => console.log('up'));
s.on('error', () => undefined); s.on('close', () => process.exit(0));
process.on('SIGUSR1', () => s.destroy());`;
const HELLO = encodeRequestFrame(4, 1n, {
  type: 'hello',
  contract: defaultContract(4),
  clientName: 'test',
  principalId: 'ebbce66c-743f-4b20-a1d9-2647d1ba8d3a',
}).toString('hex');

interface Attached {
  readonly said: () => string;
  readonly exited: Promise<readonly unknown[]>;
  /** Waits until the client has been answered for the `count`th time. */
  up(count: number): Promise<void>;
  kill(signal: NodeJS.Signals): void;
}

function attachTo(
  { bmuxd }: World,
  t: Test,
  target: string,
  wrap: readonly string[] = [],
  node: readonly string[] = [],
): Attached {
  const command = [...wrap, process.execPath, '-e', CLIENT, HELLO];
  const child = spawn(process.execPath, [...node, BMUXD, 'exec', '--reattach', target, '--', ...command], {
    env: bmuxd.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGTERM'));
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  return {
    said: () => err,
    exited: once(child, 'close'),
    up: (count) =>
      waitFor(`${target} to be up ${String(count)} times (${err})`, () => out === 'up\n'.repeat(count)),
    kill: (signal) => child.kill(signal),
  };
}

async function streams({ bmuxd }: World): Promise<StreamList['streams']> {
  return ((await bmuxd.http('GET', '/v1/streams')).body as StreamList).streams;
}

t.test('a client whose stream was lost is started again, one that has ended is not', async (t) => {
  const world = await startWorld(t);
  const { bmuxd, server } = world;
  const iroh = attachTo(world, t, 'iroh');
  // The shell does not replace itself by the client, so that the client is a process that COMMAND has started.
  const wrapped = attachTo(world, t, 'tls', ['/bin/sh', '-c', '"$0" "$@"; exit $?']);
  const local = attachTo(world, t, 'local');
  const own = attachTo(world, t, 'tls');
  for (const one of [iroh, wrapped, local, own]) await one.up(1);
  own.kill('SIGUSR1');
  t.same([await own.exited, own.said()], [[0, null], ''], 'it has ended its stream itself');
  await server.command({ do: 'drop-all' });
  t.same(await local.exited, [0, null], 'a local server that ends a stream has been stopped');
  await iroh.up(2);
  await wrapped.up(2);
  t.match(iroh.said(), /^bmuxd: iroh was lost: its server has ended it; waiting until it answers\n/);

  process.kill(await bmuxd.enginePid(), 'SIGKILL');
  await iroh.up(3);
  await wrapped.up(3);
  t.match(iroh.said(), /bmuxd: iroh was lost: its engine has died; it answers again after \d+ s\n$/);

  const [row] = (await streams(world)).filter(({ target }) => target === 'iroh');
  t.equal((await bmuxd.http('DELETE', `/v1/streams/${row?.id ?? ''}`)).status, 202);
  t.same(await iroh.exited, [0, null], 'a stream that a person has ended is not opened again');

  await server.kill();
  await waitFor('the loss to be told', () => wrapped.said().endsWith('waiting until it answers\n'));
  wrapped.kill('SIGINT');
  t.same(await wrapped.exited, [8, null]);
  t.match(wrapped.said(), /the stream through bmuxd broke: the connection to its server was lost: /);
});

t.test('what only a person can mend is told while the target is waited for', async (t) => {
  const world = await startWorld(t);
  const { bmuxd } = world;
  const attached = attachTo(world, t, 'tls');
  await attached.up(1);
  const caFile = join(bmuxd.folder, 'ca.pem');
  const right = await readFile(caFile, 'utf8');
  await writeFile(caFile, selfSigned().certPem);
  process.kill(await bmuxd.enginePid(), 'SIGKILL');
  await waitFor(`the reason (${attached.said()})`, () => /\[tls_/.test(attached.said()));
  t.match(attached.said(), /waiting until it answers\n[^]*\[tls_\w+\]\n$/);
  await writeFile(caFile, right);
  await attached.up(2);
  t.match(attached.said(), /it answers again after \d+ s\n$/);
  t.equal(attached.said().split('[tls_').length, 2, 'it is told once');
});

/** Its time of day is an hour ahead until the file beside it is there. */
const SET_BACK = `const now = Date.now;
Date.now = () => now() + (require('node:fs').existsSync(__dirname + '/set-back') ? 0 : 3_600_000);`;

t.test('the clock is set back while a client is attached', async (t) => {
  const world = await startWorld(t);
  const { folder } = world.bmuxd;
  const file = join(folder, 'set-back.cjs');
  await writeFile(file, SET_BACK);
  const attached = attachTo(world, t, 'tls', [], ['--require', file]);
  await attached.up(1);
  await writeFile(join(folder, 'set-back'), '');
  await world.server.command({ do: 'drop-all' });
  await attached.up(2);
  t.match(attached.said(), /tls was lost: its server has ended it/);
  attached.kill('SIGTERM');
  await attached.exited;
});
