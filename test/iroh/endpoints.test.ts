// The endpoint follows the setting of the relays, and a former endpoint is closed after its last connection.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type * as Iroh from '@number0/iroh/index.js';
import t from 'tap';
import { Deadline } from '../../daemon/base/async/deadline.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { Endpoints } from '../../daemon/iroh/endpoints.ts';
import { holdTimers } from '../base/async/held-timers.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import { waitFor } from '../real/index.ts';

t.test('a change of the relays makes a new endpoint', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-endpoints-'));
  const server = await launchEmbedded({
    socketPath: join(folder, 'server.sock'),
    server: { epoch: 4 },
    iroh: { relays: 'disabled', compression: 'zstd' },
  });
  let relays: 'disabled' | readonly string[] = 'disabled';
  const endpoints = new Endpoints(() => relays);
  t.teardown(async () => {
    await endpoints.close(0);
    await server.stop();
    await rm(folder, { recursive: true, force: true });
    // Without this the binding keeps the process for 30 s when a peer was stopped.
    setTimeout(() => process.exit(), 500);
  });
  const first = await endpoints.current();
  t.equal(await endpoints.current(), first);
  const { endpointId = '', address = '' } = server.iroh ?? {};
  const connection = await first.connect(
    { transport: 'iroh', endpointId, ipAddr: address, sshAuth: false },
    'host',
    { deadline: new Deadline(8000), signal: new AbortController().signal },
  );

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
  const endpoints = new Endpoints(() => 'disabled');
  t.teardown(() => endpoints.close(0));
  const hung = t.rejects(endpoints.current(), { code: 'iroh_bind_failed', cause: /did not end/ });
  await timers.pass(LIMITS.irohBindMs);
  await hung;
  bindsAgain();
  const next = await endpoints.current();
  goOn();
  await timers.until('the late endpoint to be closed', () => late?.isClosed() === true);
  t.equal(next.isOpen(), true);
});
