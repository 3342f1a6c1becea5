// A graceful end reads to the peer's end, but neither for ever nor without turns for others.
import { getEventListeners, once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Duplex } from 'node:stream';
import { createServer } from 'node:tls';
import t from 'tap';
import { sleep } from '../../daemon/base/async/sleep.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { endGracefully } from '../../daemon/transport/end.ts';
import { connectTlsReading } from '../../daemon/transport/read-buffers.ts';
import { selfSigned } from '../embedded/certificate.ts';
import { waitFor } from '../real/child.ts';

const CHUNK = Buffer.alloc(16 * 1024);

/** A stream whose peer sends `total` bytes and then ends, as fast as they are taken. */
function sending(total: number): Duplex & { sent: number } {
  const stream = new Duplex({
    read() {
      if (sender.sent >= total) this.push(null);
      else {
        sender.sent += CHUNK.length;
        this.push(CHUNK);
      }
    },
    write(_chunk, _encoding, done) {
      done();
    },
  });
  const sender = Object.assign(stream, { sent: 0 });
  return sender;
}

t.test('what a peer still sends is read to its end', async (t) => {
  const stream = sending(1024 * 1024);
  await endGracefully(stream);
  t.equal(stream.sent, 1024 * 1024);
  t.ok(stream.readableEnded);
  t.ok(stream.writableFinished);
});

t.test('a peer that sends for ever is cut', async (t) => {
  const stream = sending(Infinity);
  await endGracefully(stream, 60_000);
  t.ok(stream.destroyed);
  t.ok(stream.sent < 5 * 1024 * 1024, `${stream.sent} bytes were read`);
});

t.test('a silent peer is not waited for any more', async (t) => {
  const mute = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  const hurry = new AbortController();
  const over = endGracefully(mute, 600_000, hurry.signal);
  hurry.abort();
  await over;
  t.ok(mute.writableFinished && mute.destroyed);
  t.equal(getEventListeners(hurry.signal, 'abort').length, 0);
  const late = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  await endGracefully(late, 600_000, hurry.signal);
  t.ok(late.writableFinished && late.destroyed);
});

t.test('a peer that has not got the end is waited for', async (t) => {
  let flush = (): void => undefined;
  const full = new Duplex({
    read: () => undefined,
    write: (_chunk, _encoding, done) => (flush = done),
  });
  full.write('x');
  const hurry = AbortSignal.abort();
  const over = endGracefully(full, 600_000, hurry);
  await sleep(1.5 * LIMITS.muteMs);
  t.notOk(full.destroyed);
  flush();
  await over;
  t.ok(full.writableFinished && full.destroyed);
});

t.test('others get turns while a peer sends', async (t) => {
  const stream = sending(Infinity);
  const over = endGracefully(stream, 60_000);
  let most = 0;
  let before = 0;
  const turns = setInterval(() => {
    most = Math.max(most, stream.sent - before);
    before = stream.sent;
  }, 1);
  await over;
  clearInterval(turns);
  t.ok(most <= 1024 * 1024, `${most} bytes between two turns`);
});

t.test('many peers that send for ever share the time of sixteen', async (t) => {
  const streams = Array.from({ length: 160 }, () => sending(Infinity));
  const sum = (): number => streams.reduce((all, { sent }) => all + sent, 0);
  const ends = streams.map((stream) => endGracefully(stream));
  await sleep(1);
  const before = sum();
  const since = performance.now();
  for (let turn = 0; turn < 20; turn += 1) await sleep(5);
  const turns = (performance.now() - since) / 5;
  t.ok(sum() - before <= (turns + 1) * 2 * 16 * 64 * 1024, `${String(sum() - before)} bytes`);
  for (const stream of streams) stream.destroy();
  await Promise.all(ends);
});

t.test('a peer that has nothing honest to say is cut sooner', async (t) => {
  const stream = sending(Infinity);
  await endGracefully(stream, LIMITS.endMs, undefined, 256 * 1024);
  t.ok(stream.sent < 512 * 1024, `${stream.sent} bytes were read`);
});

t.test('a TLS socket that ends in its own data event is read on', async (t) => {
  const { certPem, keyPem } = selfSigned();
  const server = createServer({ cert: certPem, key: keyPem }, (socket) => {
    const send = (): void => {
      while (!socket.destroyed && socket.write(CHUNK));
    };
    socket.on('drain', send).on('error', () => undefined);
    send();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const socket = connectTlsReading({ port, host: '127.0.0.1', servername: 'localhost', ca: certPem });
  let afterEnd = 0;
  socket.once('data', () => {
    socket.end();
    socket.on('data', (chunk: Buffer) => (afterEnd += chunk.length));
  });
  await waitFor('data after the end', () => afterEnd > 2 * 1024 * 1024);
  socket.destroy();
});
