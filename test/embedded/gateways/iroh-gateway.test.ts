// The embedded iroh gateway behaves like the real one, including its flaws. Where the real one is installed, both run the same tests.
import t, { type Test } from 'tap';
import { compressed } from '../../../daemon/compression/stream.ts';
import { defaultContract, encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import * as real from '../../real/index.ts';
import { TestClient } from '../client.ts';
import { addressOf, dial, open, start, type Address } from './iroh-dial.ts';
import { IrohDuplex } from './iroh-duplex.ts';

t.test('many streams on one connection, bytes exact both ways, in both modes, half-close kept', async (t) => {
  for (const compression of ['none', 'zstd'] as const) {
    const { server, gateway } = await start(t, { compression });
    const connection = await dial(t, addressOf(gateway));
    const greet = async (): Promise<TestClient> => {
      const stream = await open(connection);
      const client = new TestClient(compression === 'zstd' ? compressed(stream) : stream);
      await client.hello();
      return client;
    };
    const size = 1_000_001;
    const [counted] = await Promise.all([(await greet()).sink(size), (await greet()).source(size)]);
    t.strictSame(counted, { count: size, badAt: null }, compression);
    const client = await greet();
    await client.raw({ type: 'echo' });
    client.stream.end('the final bytes');
    t.equal((await client.ended()).toString(), 'the final bytes', 'an answer after our end');
    await real.waitFor('every place to be free', () => server.connections() === 0 && gateway.streams() === 0);
    t.match(gateway.stats(), { connections: 1, streams: 3, live: 1 });
  }
});

t.test('a stream without a server behind the gateway ends', async (t) => {
  const { server, gateway } = await start(t);
  await server.stop();
  const client = new TestClient(await open(await dial(t, addressOf(gateway))));
  client.stream.on('error', () => undefined);
  client.stream.write('x');
  await client.ended();
});

/** The same tests for the embedded gateway and the real one. `held`: connections at the server. */
async function flaws(t: Test, address: Address, held: () => number | Promise<number>): Promise<void> {
  const heldBecomes = (count: number): Promise<void> =>
    real.waitFor(`${count} connections at the server`, async () => (await held()) === count);
  // A gateway that has just started may have checked whether its server exists.
  await heldBecomes(0);
  const helloV3 = encodeRequestFrame(3, 1n, {
    type: 'hello',
    contract: defaultContract(3),
    clientName: 'old',
    principalId: 'ebbce66c-743f-4b20-a1d9-2647d1ba8d3a',
  });

  const connection = await dial(t, address);
  const proper = new TestClient(await open(connection));
  await proper.hello();
  await proper.close();
  await heldBecomes(0);
  t.pass('a finished stream gives the place back');

  const refused = new TestClient(await open(connection));
  refused.stream.write(Buffer.concat([helloV3, encodeRequestFrame(3, 2n, { type: 'ping' })]));
  t.equal((await refused.ended()).length, 0, 'a refusal is an end, even with bytes unread');

  const stream = await connection.openBi();
  await new TestClient(new IrohDuplex({ send: stream.send, recv: stream.recv })).hello();
  await stream.send.reset(0n);
  await heldBecomes(1);
  t.pass('a reset stream loses the place');

  const other = await dial(t, address);
  await new TestClient(await open(other)).hello();
  other.close(0n, []);
  await heldBecomes(2);
  t.pass('so does a connection that closes under its stream');
}

t.test('its flaws', async (t) => {
  const { server, gateway } = await start(t);
  await flaws(t, addressOf(gateway), () => server.connections());
  await gateway.stop();
  await real.waitFor('the end of the gateway to free them', () => server.connections() === 0);
});

const noReal = real.realBmux() === undefined && 'real bmux not found';
t.test(
  'the flaws of the real one',
  { skip: noReal || (!real.canCountConnections() && 'no ss to count connections') },
  async (t) => {
    const server = await real.startServer();
    t.teardown(() => server.stop());
    const gateway = await real.startIrohGateway(server, { compression: 'none' });
    t.teardown(() => gateway.stop());
    await flaws(t, gateway, () => real.connectionsHeld(server));
  },
);

t.test('through a relay', { skip: real.realRelay() === undefined && 'iroh-relay not found' }, async (t) => {
  const relay = await real.startRelay();
  t.teardown(() => relay.stop());
  const { gateway } = await start(t, { relays: [relay.url] });
  const { endpointId, relayUrl = '' } = gateway;
  const client = new TestClient(await open(await dial(t, { endpointId, relayUrl })));
  await client.hello();
  t.match(gateway.url, `relay=${encodeURIComponent(relayUrl)}`);
  await client.close();
});
