// Tests when a TCP connection is given up whose peer acknowledges nothing.
import { createConnection, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { endsKey, parseTable, readUnanswered, type Unanswered } from '../../../daemon/transport/tcp/table.ts';
import { TcpWatch } from '../../../daemon/transport/tcp/watch.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';
import { waitFor } from '../../real/index.ts';

const never = new AbortController().signal;

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
}

/** A connection to a server in this process. */
async function pair(t: Test, host = '127.0.0.1'): Promise<Pair> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, host, resolve));
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const client = createConnection((server.address() as { port: number }).port, host);
  const other = await accepted;
  await waitFor('the connection', () => !client.connecting);
  for (const socket of [client, other]) socket.on('error', () => undefined);
  t.teardown(() => {
    client.destroy();
    other.destroy();
    server.close();
  });
  return { client, server: other };
}

t.test('the table of the kernel', { skip: process.platform !== 'linux' && 'Linux only' }, async (t) => {
  for (const [host, family] of [
    ['127.0.0.1', 4],
    ['::1', 6],
  ] as const) {
    const made = await pair(t, host).catch(() => undefined);
    if (made === undefined) {
      t.comment(`no ${host} here`);
      continue;
    }
    const { client, server } = made;
    const isThere = async (): Promise<boolean> =>
      (await readUnanswered(new Set([family]), never))?.has(endsKey(client) ?? '') === true;
    t.equal(await isThere(), false, `${host}: nothing was written`);
    client.write(Buffer.alloc(20_000_000));
    await waitFor('the bytes that nobody reads', isThere);
    server.resume();
    await waitFor('the peer to take them', async () => !(await isThere()));
  }
  const row = (rest: string): string => `head\n  7: 0100007F:1F90 0200000A:01BB 01 ${rest} 0 0 1 2`;
  const key = endsKey({
    localAddress: '127.0.0.1',
    localPort: 8080,
    remoteAddress: '10.0.0.2',
    remotePort: 443,
  });
  const count = (rest: string): number | undefined => parseTable(row(rest)).get(key ?? '')?.times;
  t.equal(count('00000001:00000000 01:00000042 0000000A     0        0'), 10, 'sent again');
  t.equal(
    count('00000001:00000000 04:00000042 00000000     0        12'),
    12,
    'a full window that was asked for',
  );
  t.equal(
    count('00000001:00000000 04:00000042 00000000     0        0'),
    0,
    'a full window of a peer that answers',
  );
  t.equal(count('00000000:00000000 02:00000042 00000000     0        3'), undefined, 'nothing is under way');
  const since = (timer: string, pause: number): number | undefined => {
    const line = `  7: 0100007F:1F90 0200000A:01BB 01 00000001:00000000 ${timer} 0 0 7 1 0 ${String(pause)} 4 1 9 9`;
    return parseTable(`head\n${line}`).get(key ?? '')?.ms;
  };
  t.equal(since('01:0000000A 00000000', 20), 100, '200 ms, of which 100 are to come');
  t.equal(since('01:00000064 00000003', 160), 2000, '200, 400, 800 and 600 of 1600 ms');
  t.equal(since('01:00000013 00000004', 163), undefined, 'pauses that an ICMP message has halved');
  t.equal(Math.round(since('01:00000A00 0000000C', 12_000) ?? 0), 214_371, 'no pause is longer than 120 s');
  t.equal(since('01:0000000A 00000000', NaN), undefined, 'a kernel that does not tell the pause');
});

t.test('when a connection is given up', async (t) => {
  let now = 0;
  let counts: Unanswered = new Map();
  const watch = new TcpWatch({ now: () => now, read: () => Promise.resolve(counts), clock: new FakeClock() });
  /** A look each second, in which the kernel says these numbers; undefined: everything is acknowledged. */
  const seconds = async (client: Socket, said: readonly (number | undefined)[]): Promise<void> => {
    for (const count of said) {
      now += 1000;
      counts = new Map(count === undefined ? [] : [[endsKey(client) ?? '', { times: count, ms: undefined }]]);
      await watch.look();
    }
  };
  const begin = async (): Promise<Pair & { readonly error: () => string | undefined }> => {
    const made = await pair(t);
    let error: string | undefined;
    made.client.on('error', (why: NodeJS.ErrnoException) => (error = why.code));
    watch.add(made.client);
    made.client.write('x');
    return { ...made, error: () => error };
  };
  const silent = [1, 1, 2, 3, 3, 4, 4, 4, 4, 5, 5];

  const dead = await begin();
  await seconds(dead.client, silent.slice(0, 9));
  t.equal(dead.client.writableEnded, false, 'not before the limit');
  let ended = false;
  dead.server.on('end', () => (ended = true)).resume();
  await seconds(dead.client, silent.slice(9));
  await waitFor('the error', () => dead.error() === 'ETIMEDOUT');
  await waitFor('the end of our side, which the kernel sends when it can', () => ended);

  const far = await begin();
  await seconds(far.client, [...silent.map((count) => Math.min(count, 3)), 3, 3, 3]);
  t.equal(far.client.writableEnded, false, 'not while the kernel has sent few times, as on a long way');

  const lossy = await begin();
  await seconds(lossy.client, [
    ...silent.slice(0, 9),
    0,
    ...silent.slice(1, 9),
    undefined,
    ...silent.slice(1, 9),
  ]);
  t.equal(lossy.client.writableEnded, false, 'each acknowledgement begins anew');

  const talks = await begin();
  await seconds(talks.client, silent.slice(0, 9));
  talks.server.write('y');
  talks.client.resume();
  await waitFor('what the peer says', () => talks.client.bytesRead > 0);
  await seconds(talks.client, [5, 5, 5]);
  t.equal(talks.client.writableEnded, false, 'a peer that is heard');

  const once = await begin();
  await seconds(once.client, [undefined, undefined]);
  once.server.write('y');
  once.client.resume();
  await waitFor('the answer', () => once.client.bytesRead > 0);
  once.client.write('x');
  await seconds(once.client, [0, ...silent, 5, 5]);
  await waitFor('the error of a write just after an answer', () => once.error() === 'ETIMEDOUT');

  const slept = await begin();
  await seconds(slept.client, silent.slice(0, 9));
  now += 60_000;
  await seconds(slept.client, [5, 5, 5]);
  t.equal(slept.client.writableEnded, false, 'the time in which the machine slept does not count');
});

for (const pause of [2000, 4000])
  t.test(`a connection with a question and its answer every ${String(pause)} ms`, async (t) => {
    const clock = new FakeClock();
    let looks = 0;
    const { client, server } = await pair(t);
    const read = (): Promise<Unanswered> => {
      looks += 1;
      return Promise.resolve(new Map());
    };
    client.resume();
    server.pipe(server);
    // The question is asked just after a look, as by spares.
    new TcpWatch({ now: () => clock.now(), clock, read }).add(client);
    clock.every(pause, () => client.write('x'));
    for (let ms = 0; ms < 30_000; ms += 2000) {
      await clock.advance(2000);
      await waitFor('the answer', () => client.bytesRead === client.bytesWritten);
    }
    t.equal(looks, 0, 'the table of the kernel is not read');
  });

t.test('a way that is told to be unreachable, which halves the pauses', async (t) => {
  const clock = new FakeClock();
  let said: { times: number; ms: number | undefined } = { times: 3, ms: 1500 };
  const { client } = await pair(t);
  const read = (): Promise<Unanswered> => Promise.resolve(new Map([[endsKey(client) ?? '', said]]));
  new TcpWatch({ now: () => clock.now(), clock, read }).add(client);
  client.write('x');
  await clock.advance(6000);
  for (const times of [4, 5, 6]) {
    said = { times, ms: undefined };
    await clock.advance(2000);
    t.equal(client.writableEnded, false);
  }
  for (let ms = 0; !client.writableEnded && ms < 6000; ms += 100) await clock.advance(100);
  t.ok(client.writableEnded, 'the time goes on from the last one that was known');
});

t.test('where the kernel tells the time, it is given up when that is over', async (t) => {
  const clock = new FakeClock();
  let sentAt: number | undefined;
  let looks = 0;
  const { client } = await pair(t);
  const watch = new TcpWatch({
    now: () => clock.now(),
    clock,
    read: () => {
      looks += 1;
      if (sentAt === undefined) return Promise.resolve(new Map());
      const ms = clock.now() - sentAt;
      return Promise.resolve(new Map([[endsKey(client) ?? '', { times: ms < 3000 ? 1 : 4, ms }]]));
    },
  });
  watch.add(client);
  t.equal(clock.waiting, 1);
  await clock.advance(60_000);
  t.equal(looks, 0, 'while nothing is written, nobody asks the kernel');
  await clock.advance(700);
  sentAt = clock.now();
  client.write('x');
  await clock.advance(9000);
  sentAt += 1000;
  await clock.advance(1900);
  t.equal(client.writableEnded, false, 'what was sent first is acknowledged meanwhile');
  await clock.advance(200);
  t.ok(client.writableEnded, 'given up 10 s after the oldest byte that is left was sent');
  t.equal(clock.waiting, 0, 'no timer is left');
});

t.test('a peer is asked often while its window is full', async (t) => {
  const clock = new FakeClock();
  let said: Unanswered = new Map();
  const told: boolean[] = [];
  let bytesRead = 0;
  let bytesWritten = 0;
  const watch = new TcpWatch({ now: () => clock.now(), clock, read: () => Promise.resolve(said) });
  const isFull = (full: boolean): void => {
    said = new Map([['key', { times: 0, ms: undefined, isFull: full }]]);
  };
  t.teardown(
    watch.addConnection({
      key: 'key',
      family: 4,
      get bytesRead() {
        return bytesRead;
      },
      get bytesWritten() {
        return bytesWritten;
      },
      isClosed: false,
      giveUp: () => undefined,
      askOften: (isOften) => told.push(isOften),
    }),
  );
  bytesWritten += 1;
  isFull(true);
  await clock.advance(60_000);
  t.same(told, [true]);
  isFull(false);
  await clock.advance(2000);
  t.same(told, [true, false], 'it has room');
  isFull(true);
  await clock.advance(2000);
  bytesRead += 1;
  await clock.advance(2000);
  t.same(told, [true, false, true, false], 'it has answered');
});
