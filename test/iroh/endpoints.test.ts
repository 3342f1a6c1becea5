// The endpoint follows the setting of the relays and changes of the network, and one that is dead is replaced. A former endpoint is closed after
// its last connection.
import { once } from 'node:events';
import { createSocket, type Socket } from 'node:dgram';
import { createRequire } from 'node:module';
import type * as Iroh from '@number0/iroh/index.js';
import t, { type Test } from 'tap';
import { LIMITS } from '../../daemon/base/limits.ts';
import type { IrohRoute } from '../../daemon/engine-protocol/plan.ts';
import { Endpoints, type EndpointsOptions } from '../../daemon/iroh/endpoints.ts';
import { holdTimers } from '../base/async/held-timers.ts';
import { IrohEndpoint } from '../../daemon/transport/iroh/endpoint.ts';
import type { Embedded } from '../embedded/launch.ts';
import { waitFor } from '../real/index.ts';
import { greet, poolFor, routeTo, serve, wait } from './rig.ts';

function endpointsFor(
  t: Test,
  options: EndpointsOptions = {},
  relays: () => 'disabled' | readonly string[] = () => 'disabled',
) {
  const endpoints = new Endpoints(relays, options);
  t.teardown(() => endpoints.close(0));
  return endpoints;
}

/** What stands between an endpoint and its host, as a NAT does. `carries`: whether it takes packets of the endpoint that is the n-th here. */
async function natTo(t: Test, server: Embedded, carries: (nth: number) => boolean) {
  const to = Number(routeTo(server).ipAddr?.split(':')[1]);
  const outside = new Map<number, Socket>();
  const inside = createSocket('udp4');
  t.teardown(() => {
    for (const socket of [inside, ...outside.values()]) socket.close();
  });
  inside.on('message', (packet, { port }) => {
    const socket = outside.get(port) ?? createSocket('udp4');
    if (!outside.has(port)) {
      outside.set(port, socket);
      socket.on('message', (answer) => inside.send(answer, port, '127.0.0.1'));
    }
    if (carries([...outside.keys()].indexOf(port))) socket.send(packet, to, '127.0.0.1');
  });
  inside.bind(0, '127.0.0.1');
  await once(inside, 'listening');
  const route: IrohRoute = { ...routeTo(server), ipAddr: `127.0.0.1:${String(inside.address().port)}` };
  return { route, endpoints: () => outside.size };
}

t.test('a change of the relays makes a new endpoint', async (t) => {
  const server = await serve(t);
  let relays: 'disabled' | readonly string[] = 'disabled';
  const endpoints = endpointsFor(t, {}, () => relays);
  const first = await endpoints.current();
  t.equal(await endpoints.current(), first);
  const connection = await endpoints.connect(routeTo(server), 'host', wait());

  relays = ['http://127.0.0.1:9'];
  const second = await endpoints.current();
  t.not(second, first);
  relays = ['http://127.0.0.1:10'];
  const third = await endpoints.current();
  await waitFor('an endpoint without a connection to be closed', () => !second.isOpen());
  t.equal(first.isOpen(), true, 'an endpoint with a connection stays open');
  t.equal(third.isOpen(), true);
  await connection.close();
  await waitFor('the first endpoint to be closed after its last connection', () => !first.isOpen());
});

t.test('a dial that a dead endpoint (iroh#4289) does not bring through succeeds on a new one', async (t) => {
  const { route, endpoints: seen } = await natTo(t, await serve(t), (nth) => nth > 0);
  const endpoints = endpointsFor(t, { trialMs: 200, restMs: 0 });
  const dead = await endpoints.current();
  const connection = await endpoints.connect(route, 'host', wait(20_000));
  t.not(await endpoints.current(), dead);
  await waitFor('the dead one to be closed', () => !dead.isOpen());
  t.ok(connection.isAlive());
  const again = await endpoints.connect(route, 'host', wait(20_000));
  t.equal(seen(), 2, 'the new one is used from now on');
  await Promise.all([connection.close(), again.close()]);
});

t.test('when the host is away the endpoint stays, and others are tried now and then', async (t) => {
  const { route, endpoints: seen } = await natTo(t, await serve(t), () => false);
  for (const [restMs, dials, expected] of [
    [0, 2, 3],
    [60_000, 1, 1],
  ] as const) {
    const before = seen();
    const endpoints = endpointsFor(t, { trialMs: 50, restMs });
    const first = await endpoints.current();
    for (let dial = 0; dial < dials; dial += 1)
      await t.rejects(endpoints.connect(route, 'host', wait(1500)), { code: 'iroh_connect_timeout' });
    t.equal(await endpoints.current(), first);
    t.equal(seen() - before, expected);
  }
});

t.test(
  'after a change of the network dials are made on a new endpoint, and streams of the former one go on',
  async (t) => {
    const { route, endpoints: seen } = await natTo(t, await serve(t), () => true);
    const pool = poolFor(t);
    const client = await greet(await pool.stream(route, wait()));
    for (const changes of [false, true]) {
      if (changes) pool.markStale();
      pool.drop(route);
      await (await greet(await pool.stream(route, wait()))).close();
      t.equal(seen(), changes ? 2 : 1);
    }
    await client.ping();
    await client.close();
  },
);

t.test('a bind that hangs is given up, and the next caller binds again', async (t) => {
  const { EndpointBuilder } = createRequire(import.meta.url)('@number0/iroh/index.js') as typeof Iroh;
  const { prototype } = EndpointBuilder;
  const bind = Object.getOwnPropertyDescriptor(prototype, 'bind') ?? {};
  const bindsAgain = (): void => {
    Object.defineProperty(prototype, 'bind', bind);
  };
  let goOn: () => void = () => undefined;
  let late: Iroh.Endpoint | undefined;
  prototype.bind = async function (this: Iroh.EndpointBuilder) {
    await new Promise<void>((resolve) => (goOn = resolve));
    late = await this.bind();
    return late;
  };
  t.teardown(bindsAgain);
  const timers = holdTimers(t);
  const endpoints = endpointsFor(t);
  const hung = t.rejects(endpoints.current(), { code: 'iroh_bind_failed', cause: /did not end/ });
  await timers.pass(LIMITS.irohBindMs);
  await hung;
  bindsAgain();
  const next = await endpoints.current();
  goOn();
  await timers.until('the late endpoint to be closed', () => late?.isClosed() === true);
  t.equal(next.isOpen(), true);
});

t.test('an endpoint that does not close is left after a time', async (t) => {
  const { Endpoint } = createRequire(import.meta.url)('@number0/iroh/index.js') as typeof Iroh;
  const endpoint = await IrohEndpoint.bind({ relays: 'disabled' });
  const close = Object.getOwnPropertyDescriptor(Endpoint.prototype, 'close') ?? {};
  t.teardown(() => {
    Object.defineProperty(Endpoint.prototype, 'close', close);
  });
  Endpoint.prototype.close = () => new Promise(() => undefined);
  const timers = holdTimers(t);
  let isOver = false;
  const closing = endpoint.close(LIMITS.endMs).then(() => (isOver = true));
  await timers.pass(0);
  await timers.pass(LIMITS.irohCloseMs - 1);
  t.equal(isOver, false);
  await timers.pass(1);
  await closing;
});
