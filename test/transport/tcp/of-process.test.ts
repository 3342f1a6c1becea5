// Tests how the connection of another process is found and watched.
import { spawn } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { connectionOf, watchConnectionOf } from '../../../daemon/transport/tcp/of-process.ts';
import {
  connectionsOf,
  parseConnections,
  type TableRow,
  type Unanswered,
} from '../../../daemon/transport/tcp/table.ts';
import { TcpWatch } from '../../../daemon/transport/tcp/watch.ts';
import { FakeClock, settle } from '../../base/async/fake-clock.ts';
import { waitFor } from '../../real/index.ts';

const row: TableRow = { key: '0100007F:1F90 0200000A:01BB', family: 4 };

interface Rig {
  readonly clock: FakeClock;
  /** What the process has got and given. */
  readonly bytes: { written: number; read: number };
  readonly searches: () => number;
  readonly givenUp: () => string | undefined;
  readonly end: () => void;
}

/** Watches a connection that each search finds as `found` says: undefined means that there is none, an error that nobody knows. */
function rig(found: (search: number) => TableRow | Error | undefined, sent: (ms: number) => Unanswered): Rig {
  const clock = new FakeClock();
  const start = clock.now();
  const bytes = { written: 0, read: 0 };
  let searches = 0;
  let why: string | undefined;
  const read = (): Promise<Unanswered> => Promise.resolve(sent(clock.now() - start));
  const watch = new TcpWatch({ now: () => clock.now(), clock, read });
  const find = async (): Promise<TableRow | undefined> => {
    searches += 1;
    await settle();
    const answer = found(searches);
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const end = watchConnectionOf(
    1,
    watch,
    {
      read: () => bytes.read,
      written: () => bytes.written,
      isClosed: () => false,
      giveUp: ({ message }) => (why = message),
    },
    { find, clock },
  );
  return { clock, bytes, searches: () => searches, givenUp: () => why, end };
}

/** A peer that acknowledges nothing from the first second on. */
const dead = (ms: number): Unanswered => new Map(ms < 1000 ? [] : [[row.key, { times: 5, ms: ms - 1000 }]]);

t.test('what is written before the connection is found', async (t) => {
  const made = rig(() => row, dead);
  made.bytes.written = 100;
  await made.clock.advance(20_000);
  t.match(made.givenUp(), /acknowledged nothing/);
});

t.test('a search for which the system has no time is made again', async (t) => {
  const made = rig((search) => (search < 20 ? new Error('busy') : row), dead);
  made.bytes.written = 100;
  await made.clock.advance(37_000);
  t.equal(made.searches(), 19);
  t.equal(made.givenUp(), undefined);
  await made.clock.advance(10_000);
  t.match(made.givenUp(), /acknowledged nothing/);
});

t.test('a row that one search misses', async (t) => {
  const made = rig((search) => (search === 1 ? undefined : row), dead);
  made.bytes.written = 100;
  await made.clock.advance(20_000);
  t.equal(made.searches(), 2);
  t.match(made.givenUp(), /acknowledged nothing/);
});

t.test('a process without a connection', async (t) => {
  const made = rig(() => undefined, dead);
  made.bytes.written = 100;
  await made.clock.advance(60_000);
  t.equal(made.searches(), 5);
  t.equal(made.clock.waiting, 0, 'nothing is looked at any more');
});

t.test('an end while it is searched for', async (t) => {
  for (const when of ['at once', 'later']) {
    const made = rig(() => undefined, dead);
    if (when === 'later') await made.clock.advance(3000);
    made.end();
    await made.clock.advance(60_000);
    t.ok(made.searches() <= 2, when);
    t.equal(made.clock.waiting, 0, when);
  }
});

t.test('a row that one look misses does not count as acknowledged', async (t) => {
  const missing = new Set([4000, 8000, 12_000]);
  const made = rig(
    () => row,
    (ms) => (missing.has(ms) ? new Map() : dead(ms)),
  );
  made.bytes.written = 100;
  await made.clock.advance(20_000);
  t.match(made.givenUp(), /acknowledged nothing/);
});

t.test('two looks without it do', async (t) => {
  let looks = 0;
  const made = rig(
    () => row,
    () => {
      looks += 1;
      return new Map();
    },
  );
  made.bytes.written = 100;
  await made.clock.advance(60_000);
  t.equal(looks, 2);
});

t.test('a table that changes while it is read may show a connection twice', (t) => {
  const line =
    '  7: 0100007F:1F90 0200000A:01BB 01 00000000:00000000 00:00000000 00000000 0 0 4711 1 0 20 4 1 9 9';
  t.strictSame([...parseConnections(`head\n${line}\n${line}`, 4)], [['4711', row]]);
  t.end();
});

/** The processes of a program that connects `own` times itself, and once in each of `below` children. */
async function program(
  t: Test,
  own: number,
  below: number,
): Promise<{ readonly pid: number; readonly first: string | undefined }> {
  const server = createServer((socket) => socket.on('error', () => undefined));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const ports: number[] = [];
  server.on('connection', ({ remotePort = 0 }) => ports.push(remotePort));
  const { port } = server.address() as AddressInfo;
  const child = `require('net').connect(${String(port)}, '127.0.0.1'); process.stdin.on('end', () => process.exit()).resume();`;
  const text = `const { connect } = require('net');
    const more = (left) => left === 0 ? below() : connect(${String(port)}, '127.0.0.1', () => more(left - 1));
    const below = () => {
      for (let n = 0; n < ${String(below)}; n += 1)
        require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}], { stdio: ['pipe', 'ignore', 'inherit'] });
    };
    more(${String(own)});
    process.stdin.on('end', () => process.exit()).resume();`;
  const made = spawn(process.execPath, ['-e', text], { stdio: ['pipe', 'ignore', 'inherit'] });
  t.teardown(() => made.kill('SIGKILL'));
  await waitFor('its connections', () => ports.length === own + below);
  const hex = ports[0]?.toString(16).toUpperCase().padStart(4, '0');
  return { pid: made.pid ?? 0, first: hex };
}

t.test('which connection it is', { skip: process.platform !== 'linux' && 'Linux only' }, async (t) => {
  for (const [own, below, is] of [
    [1, 0, 'its own one'],
    [3, 0, 'the first of its own, as of an ssh with forwardings'],
    [0, 1, 'that of the program below'],
    [0, 2, undefined],
    [0, 0, undefined],
  ] as const) {
    const { pid, first } = await program(t, own, below);
    const found = await connectionOf(pid);
    if (is === undefined)
      t.equal(found, undefined, `${String(own)} and ${String(below)} below: nobody knows`);
    else t.ok(found?.key.includes(`:${String(first)} `), is);
  }
  const { pid } = await program(t, 2, 1);
  const own = await connectionOf(pid);
  t.ok(own !== undefined, 'that of the program below, beside forwardings');
  t.equal(await connectionOf(2 ** 30), undefined, 'a process that is gone');
  const over = AbortSignal.abort();
  await t.rejects(connectionsOf(new Set(['1']), over), 'a table that cannot be read in time');
});
