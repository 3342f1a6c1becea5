// What an iroh host sends that nobody wants or that proves nothing: streams of its own, bytes on a stream that was destroyed, packets while
// nothing of ours reaches it.
import t from 'tap';
import { settledWithin } from '../../../daemon/base/async/deadline.ts';
import { WarmConnection } from '../../../daemon/iroh/warm-connection.ts';
import {
  bindRaw,
  ByteArrays,
  connectRaw,
  type RawConnection,
} from '../../../daemon/transport/iroh/binding.ts';
import { IrohConnection } from '../../../daemon/transport/iroh/connection.ts';
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

t.test('a host that is heard, and that our question does not reach, has not answered', async (t) => {
  const host = await bindRaw('disabled', { accept: true, bindAddr: '127.0.0.1:0' });
  t.teardown(() => host.close());
  const accepted = (async (): Promise<RawConnection> => {
    const incoming = await host.acceptNext();
    if (incoming === null) throw new Error('the host was closed');
    return (await incoming.accept()).connect();
  })();
  const endpoint = await bindRaw('disabled');
  t.teardown(() => endpoint.close());
  const ipAddr = host.boundSockets().find((address) => address.startsWith('127.')) ?? '';
  const raw = await connectRaw(endpoint, { id: host.id().toString(), ipAddr });
  const theirs = await accepted;
  // What the binding tells of a datagram that stays in its buffer.
  let held = 0;
  const edge = new Proxy(raw, {
    get: (of, name): unknown => {
      if (name === 'datagramSendBufferSpace') return () => of.datagramSendBufferSpace() - held;
      const value: unknown = Reflect.get(of, name);
      return typeof value === 'function' ? value.bind(of) : value;
    },
  });
  const connection = new IrohConnection(edge, endpoint);
  const warm = new WarmConnection({ key: 'host', fingerprint: undefined, connection });
  t.ok(await warm.healthCheck());
  held = 1;
  const talk = setInterval(() => {
    theirs.sendDatagram([1]);
  }, 20);
  t.teardown(() => {
    clearInterval(talk);
  });
  const before = connection.counters()?.receivedDatagrams ?? 0;
  const since = performance.now();
  t.notOk(await warm.healthCheck());
  t.ok((connection.counters()?.receivedDatagrams ?? 0) > before, 'the host was heard');
  t.ok(warm.silent, 'it counts as silent');
  t.ok(warm.sinceHeardMs() >= performance.now() - since, 'what comes meanwhile does not count');
  held = 0;
  t.ok(await warm.healthCheck());
  t.notOk(warm.silent);
});
