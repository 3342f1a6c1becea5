// A busy stream lets other streams run, and loses no data by it.
import { Duplex } from 'node:stream';
import t from 'tap';
import { Splice } from '../../daemon/splice/splice.ts';
import { waitFor } from '../real/child.ts';
import { readAll } from '../transport/dialling.ts';
import { startPairs } from './pair.ts';

const pairs = await startPairs();
t.teardown(() => pairs.close());

t.test('a server that always has more data does not keep other streams from running', async (t) => {
  const [, near] = await pairs.pair();
  const piece = Buffer.alloc(16_384);
  let given = 0;
  let most = 0;
  // Simulates a socket whose kernel buffer is full at every read, so that only the splice itself ends its turn.
  const remote = new Duplex({
    allowHalfOpen: true,
    read() {
      if (given >= 64 * 1024 * 1024) this.push(null);
      else {
        given += piece.length;
        this.push(piece);
      }
    },
    write(_chunk, _encoding, done) {
      done();
    },
  });
  let before = 0;
  let looking = true;
  const look = (): void => {
    most = Math.max(most, given - before);
    before = given;
    if (looking) setImmediate(look);
  };
  look();
  const splice = new Splice({ client: near, remote, clientBufferLimit: 256 * 1024 * 1024 });
  remote.resume();
  await waitFor('all to be read', () => given >= 64 * 1024 * 1024);
  splice.stop('the test');
  near.destroy();
  await splice.done;
  looking = false;
  t.ok(most <= 1024 * 1024, `${String(most)} bytes in one turn of the event loop`);
});

t.test('many servers that always have more data share the turns', async (t) => {
  const piece = Buffer.alloc(16_384);
  let given = 0;
  let looking = true;
  const begun = new Set<Duplex>();
  const perTurn: number[] = [];
  let before = 0;
  const look = (): void => {
    if (begun.size === 32) perTurn.push(given - before);
    before = given;
    if (looking) setImmediate(look);
  };
  look();
  const splices = await Promise.all(
    Array.from({ length: 32 }, async () => {
      const [client, near] = await pairs.pair();
      client.resume().on('error', () => undefined);
      const remote: Duplex = new Duplex({
        allowHalfOpen: true,
        read() {
          begun.add(remote);
          given += piece.length;
          this.push(piece);
        },
        write(_chunk, _encoding, done) {
          done();
        },
      });
      const splice = new Splice({ client: near, remote, clientBufferLimit: 256 * 1024 * 1024 });
      remote.resume();
      return { splice, near };
    }),
  );
  await waitFor('each to have had many turns', () => perTurn.length >= 200);
  looking = false;
  for (const { splice, near } of splices) {
    splice.stop('the test');
    near.destroy();
  }
  await Promise.all(splices.map(({ splice }) => splice.done));
  // The turn in which the last one begins, and those of clients that have drained, are longer ones.
  const usual = perTurn.sort((a, b) => a - b)[100] ?? NaN;
  t.ok(usual <= 1024 * 1024, `${String(usual)} bytes in one turn of the event loop`);
});

t.test('a server is lost while its stream lets others run: the client gets what had come', async (t) => {
  const [client, near] = await pairs.pair();
  const remote = new Duplex({
    allowHalfOpen: true,
    read() {},
    write(_chunk, _encoding, done) {
      done();
    },
  });
  const splice = new Splice({ client: near, remote, clientBufferLimit: 1024 * 1024 });
  remote.resume();
  const got = readAll(client);
  const piece = Buffer.alloc(16_384, 1);
  setImmediate(() => {
    for (let at = 0; at < 10; at += 1) remote.push(piece);
    remote.destroy(new Error('write EPIPE'));
  });
  t.equal((await got).length, 10 * piece.length);
  client.end();
  t.match(await splice.done, { reason: 'remote lost', why: 'write EPIPE' });
});
