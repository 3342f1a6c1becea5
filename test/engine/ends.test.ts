// Tests that a server's connections are freed however its clients end. A TLS gateway loses a connection for every stream that is cut.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { pattern } from '../embedded/traffic.ts';
import { waitFor } from '../real/index.ts';
import { rawModeFrame, requestHead } from '../streams/requests.ts';
import { startWorld, Talk } from './world.ts';

t.test('clients that are killed, close or end in the middle of much data hold no connections', async (t) => {
  const world = await startWorld(t);
  const { bmuxd, server } = world;
  const before = await server.status();
  for (const target of ['local', 'tls', 'iroh']) {
    const said = Buffer.concat([requestHead(bmuxd, { target }), rawModeFrame({ type: 'echo' })]);
    // It writes much when the servers of all have answered: a busy machine may need long for that.
    const program = `const s = require('net').connect(process.argv[1]);
      s.write(Buffer.from(process.argv[2], 'base64')); let n = 0; let first;
      s.on('data', (c) => {
        if (first === undefined) { first = c; s.write('y'); return; }
        if (n === 0) process.stdout.write('a');
        n += c.length;
        if (n > 200000) { process.stdout.write('x'); n = -1e12; }
      });
      process.stdin.once('data', () => setInterval(() => s.write(Buffer.alloc(16384)), 2));
      s.on('close', () => process.stdout.write(String(first)));
      s.on('error', (error) => process.stdout.write(error.message));`;
    const killed = Array.from({ length: 4 }, () =>
      spawn(process.execPath, ['-e', program, bmuxd.streamsPath, said.toString('base64')]),
    );
    t.teardown(() => {
      for (const child of killed) child.kill('SIGKILL');
    });
    const allSay = async (wanted: string): Promise<void> => {
      const signal = AbortSignal.timeout(120_000);
      const told = await Promise.all(killed.map((child) => once(child.stdout, 'data', { signal })));
      for (const [text] of told) t.equal(String(text), wanted, target);
    };
    await allSay('a');
    const much = allSay('x');
    for (const child of killed) child.stdin.write('go');
    await much;
    for (const child of killed) child.kill('SIGKILL');

    const talks = await Promise.all(Array.from({ length: 4 }, () => Talk.open(bmuxd, target)));
    for (const talk of talks) talk.start();
    await waitFor('traffic', () => talks.every(({ check }) => check.count > 20_000));
    for (const [index, talk] of talks.entries()) {
      if (index % 2 === 0) talk.socket.destroy();
      else talk.socket.end();
    }
    await world.nothingHeld();
    t.pass(`${target}: all connections are freed`);
  }
  t.equal(
    (await server.status()).tls?.truncated,
    before.tls?.truncated,
    'each TLS stream ended with close_notify',
  );
  await waitFor('the status to show no streams and connections', async () => {
    const { streams, upstreams } = await bmuxd.status();
    return streams === 0 && upstreams.every(({ connections }) => connections === 0);
  });
});

t.test(
  'a slow client gets all its data after the write limit of its server, up to the client buffer limit',
  async (t) => {
    const world = await startWorld(t, { settings: 'streams.client_buffer_limit = 1048576\n' });
    const { bmuxd, server } = world;
    await server.command({ do: 'start-server', server: { epoch: 4, writeLimitMs: 5000 } });
    const open = async (bytes: number): Promise<Talk> => {
      const talk = await Talk.open(bmuxd, 'tls');
      talk.socket.pause();
      talk.socket.write(pattern(0, bytes));
      return talk;
    };
    const small = await open(800_000);
    const large = await open(12_000_000);
    await waitFor('the server to give up on the client that asks for more', async () => {
      return (await server.status()).server?.stalled === 1;
    });
    t.equal((await bmuxd.status()).streams, 2, 'both streams stay open until their clients read');
    small.socket.resume();
    t.equal((await small.incoming.bytes(800_000)).length, 800_000, 'the smaller answer arrives whole');
    await small.end();
    const endOf = async ({ id }: Talk): Promise<unknown> =>
      (await bmuxd.http('GET', `/v1/streams/${id}/end`)).body;
    t.strictSame(await endOf(small), { schema: 1, known: true });
    large.socket.resume();
    await waitFor('the other stream to end', () => large.incoming.ended);
    t.match(await endOf(large), { known: true, lost: /its client had not read for \d+ s$/ });
    await waitFor('the stall in the log', () => /"stalledMs":\d+.*"stream over"/.test(bmuxd.log()));
    await world.nothingHeld();
  },
);
