// What an iroh host sends that nobody wants: streams of its own, and bytes on a stream that was destroyed.
import t from 'tap';
import { settledWithin } from '../../../daemon/base/async/deadline.ts';
import { bindRaw, ByteArrays, type RawConnection } from '../../../daemon/transport/iroh/binding.ts';
import { IrohEndpoint } from '../../../daemon/transport/iroh/endpoint.ts';
import { IrohStream } from '../../../daemon/transport/iroh/stream.ts';
import { within } from '../dialling.ts';

/** ms for what takes a few, on a busy machine. */
const LATE_MS = 30_000;

t.test('streams that a host opens are stopped', async (t) => {
  const host = await bindRaw('disabled', { accept: true, bindAddr: '127.0.0.1:0' });
  t.teardown(() => host.close());
  const accepted = (async (): Promise<RawConnection> => {
    const incoming = await host.acceptNext();
    if (incoming === null) throw new Error('the host was closed');
    return (await incoming.accept()).connect();
  })();
  const endpoint = await IrohEndpoint.bind({ relays: 'disabled' });
  t.teardown(() => endpoint.close(500));
  const ipAddr = host.boundSockets().find((address) => address.startsWith('127.')) ?? '';
  const route = { transport: 'iroh', endpointId: host.id().toString(), ipAddr, sshAuth: false } as const;
  const ours = await endpoint.connect(route, 'prod', within(LATE_MS));
  const theirs = await accepted;
  for (let at = 0; at < 10; at += 1) {
    const send = at % 2 === 0 ? await theirs.openUni() : (await theirs.openBi()).send;
    await send.writeAll([1, 2, 3]);
    t.ok(await settledWithin(send.stopped(), LATE_MS), `stream ${String(at)}`);
    t.equal(await send.stopped(), 0);
  }
  t.ok(ours.isAlive());
});

t.test('a destroyed stream whose peer sends for ever is stopped', async (t) => {
  let read = 0;
  let stop = (): void => undefined;
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  const receive = {
    read: (most: number) => {
      read += most;
      return Promise.resolve(Array.from({ length: most }, () => 0));
    },
    stop: () => {
      stop();
      return Promise.resolve();
    },
  };
  const send = { finish: () => Promise.resolve(), writeAll: () => Promise.resolve() };
  const stream = new IrohStream({
    send,
    receive,
    arrays: new ByteArrays(),
    endMs: 10 * LATE_MS,
  });
  stream.destroy();
  t.ok(await settledWithin(stopped, LATE_MS));
  t.ok(read <= 512 * 1024, `${String(read)} bytes were read`);
  await stream.released;
});
