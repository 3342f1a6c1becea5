// Tests target sockets of share links: a control plane that hangs delays nothing else, a new address of a link is used, and sockets stay.
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { TargetSocketAnswer, StreamList } from '../../daemon/api/answers.ts';
import { startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import { TestClient, type TestClientOptions } from '../embedded/client.ts';
import { launchEmbedded, type Embedded } from '../embedded/launch.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { halt, waitFor } from '../real/index.ts';
import { controlPlane } from './control-plane.ts';
import { targetToml } from './ways.ts';
import {
  connected,
  targetSocketEnv,
  targetSocketIs,
  targetSocketPath,
  eventsOf,
  isThere,
} from './target-socket.ts';

t.setTimeout(300_000);
// The tests with `buffered` mostly wait, so they can run at the same time.
t.jobs = 2;

const here = (name: string): string => `[connections.targets.${name}]\ntransport = "local"\n`;

t.test('a control plane that hangs does not delay other targets', async (t) => {
  const { url, hang } = await controlPlane(t);
  const plane = `[connections]\ncontrol_plane_url = "${url}"\n`;
  const bmuxd = await startBmuxd({ config: plane + here('one') });
  t.teardown(() => bmuxd.stop());
  const runtimeDir = bmuxd.env['BMUX_RUNTIME_DIR'] ?? '';
  await writeFile(join(runtimeDir, 'auth-state.json'), '{"access_token":"t"}');
  const server = await EmbeddedServer.start({ socketPath: join(runtimeDir, 'server.sock'), epoch: 4 });
  t.teardown(() => server.stop());
  const links = ['bmux://a', 'bmux://b', 'bmux://c', 'bmux://d'];
  const targetSockets: string[] = [];
  for (const link of links)
    targetSockets.push((await targetSocketEnv(bmuxd, link))['BMUX_RUNTIME_DIR'] ?? '');
  hang();
  t.match(await bmuxd.bmuxd(['reload']), { status: 0 }, 'a reload does not wait for the lookups');
  await bmuxd.configure('bmux.toml', plane + here('two'));
  // Four lookups of 5 s one after the other would take 20 s.
  await targetSocketIs(true, targetSocketPath(bmuxd, 'two'), 12_000);
  await targetSocketIs(false, targetSocketPath(bmuxd, 'one'), 12_000);
  t.ok(
    targetSockets.every((targetSocket) => isThere(join(targetSocket, 'server.sock'))),
    'target sockets whose links cannot be looked up are kept',
  );

  await bmuxd.leave();
  const next = await startBmuxd({ sandbox: bmuxd });
  t.teardown(() => next.stop());
  await bmuxd.configure('bmux.toml', plane + here('three'));
  await targetSocketIs(true, targetSocketPath(next, 'three'), 15_000);
});

t.test('a target socket that a client got is kept while the config changes', async (t) => {
  const many = Array.from({ length: 60 }, (_, index) => here(`t${String(index)}`)).join('');
  const bmuxd = await startBmuxd({ config: many });
  t.teardown(() => bmuxd.stop());
  const granted = async (target: string): Promise<string> => {
    const headers = { 'bmux-request': JSON.stringify({ target }) };
    return ((await bmuxd.http('POST', '/v1/target-sockets', headers)).body as TargetSocketAnswer).socketPath;
  };
  await targetSocketIs(true, targetSocketPath(bmuxd, 't59'), 20_000);
  await bmuxd.configure('bmux.toml', `${many}${here('more')}`);
  const paths: string[] = [];
  let gone = 0;
  const until = performance.now() + 3000;
  while (performance.now() < until || paths.length <= 10) {
    paths.push(await granted(`tls://127.0.0.1:${String(1 + (paths.length % 40))}`));
    gone += paths.filter((path) => !isThere(path)).length;
  }
  t.equal(gone, 0, `of ${String(paths.length)}`);
});

async function irohHost(t: Test, bmuxd: Bmuxd, name: string): Promise<Embedded> {
  const embedded = await launchEmbedded({
    socketPath: join(bmuxd.folder, `${name}.sock`),
    server: { epoch: 4 },
    iroh: { relays: 'disabled', compression: 'zstd' },
  });
  t.teardown(async () => {
    // The daemon is stopped first, because it would wait for a host that is gone.
    await bmuxd.stop();
    await embedded.stop();
  });
  return embedded;
}

const addressOf = ({ iroh }: Embedded): string =>
  `iroh://${iroh?.endpointId ?? ''}?addr=${iroh?.address ?? ''}`;

/** Whether a client of the target socket in `folder` is answered. */
async function ask(folder: string, who: TestClientOptions = {}): Promise<boolean> {
  const client = new TestClient(await connected(join(folder, 'server.sock')), {
    ...who,
    limitMs: 20_000,
  });
  client.stream.on('error', () => undefined);
  try {
    await client.hello();
    await client.ping();
    await client.close();
    return true;
  } catch {
    client.stream.destroy();
    return false;
  }
}

t.test('a share link with a new address leads the next client there', { buffered: true }, async (t) => {
  const bmuxd = await startBmuxd({ settings: 'iroh.relays = "disabled"\n' });
  t.teardown(() => bmuxd.stop());
  const first = await irohHost(t, bmuxd, 'first');
  const linkTo = (host: Embedded): Promise<void> =>
    bmuxd.configure('bmux.toml', `[connections.share_links]\nhome = "${addressOf(host)}"\n`);
  await linkTo(first);
  const folder = (await targetSocketEnv(bmuxd, 'bmux://home'))['BMUX_RUNTIME_DIR'] ?? '';
  t.ok(await ask(folder));
  await first.stop();
  const second = await irohHost(t, bmuxd, 'second');
  await linkTo(second);
  const client = new TestClient(await connected(join(folder, 'server.sock')));
  await client.hello();
  await client.ping();
  t.equal((await second.status()).server?.hellos, 1, 'the next client reaches the new host');
  // The former host has a row until its connection is closed.
  await waitFor('one row', async () => (await bmuxd.upstreams()).length === 1);
  t.match(await bmuxd.upstreams(), [
    { target: 'bmux://home', epoch: 4, streams: 1, failingSinceMs: undefined },
  ]);
  const named = new Set((await eventsOf(bmuxd)).map(({ target }) => target));
  const { streams } = (await bmuxd.http('GET', '/v1/streams')).body as StreamList;
  named.delete(undefined);
  for (const { target } of streams) named.add(target);
  t.strictSame([...named], ['bmux://home'], 'events and streams name the target by its link');
  await client.close();
  t.equal((await bmuxd.upstreams()).length, 1, 'the former host has no status row');
  await waitFor('streams to be over', async () => (await bmuxd.status()).streams === 0);
});

t.test('a share link leaves no status row for its former address', { buffered: true }, async (t) => {
  const bmuxd = await startBmuxd({ settings: 'iroh.relays = "disabled"\n' });
  t.teardown(() => bmuxd.stop());
  for (const name of ['first', 'second', 'third']) {
    const host = await irohHost(t, bmuxd, name);
    await bmuxd.configure('bmux.toml', `[connections.share_links]\nhome = "${addressOf(host)}"\n`);
    const { stream, info } = await bmuxd.open({ target: 'bmux://home' });
    const client = new TestClient(stream, { epoch: info.epoch });
    await client.ping();
    const rows = await bmuxd.upstreams();
    t.match(rows, [{ target: 'bmux://home', streams: 1, failingSinceMs: undefined }], name);
    t.equal(rows.length, 1);
    await client.close();
    await host.stop();
  }
});

const isDialled = (host: Embedded): Promise<void> =>
  waitFor(
    'a connection before the next client',
    async () => (await host.status()).iroh?.connections === 1,
    40_000,
  );

t.test(
  'a used share link with a new address is warm there before the next client',
  { buffered: true },
  async (t) => {
    const bmuxd = await startBmuxd({ settings: 'iroh.relays = "disabled"\n' });
    t.teardown(() => bmuxd.stop());
    const hosts: Embedded[] = [];
    for (const name of ['first', 'second', 'third']) hosts.push(await irohHost(t, bmuxd, name));
    const [first, second, third] = hosts as [Embedded, Embedded, Embedded];

    await t.test('a link of the config, when the config changes', async (t) => {
      const linkTo = (host: Embedded): Promise<void> =>
        bmuxd.configure('bmux.toml', `[connections.share_links]\nhome = "${addressOf(host)}"\n`);
      await linkTo(first);
      const folder = (await targetSocketEnv(bmuxd, 'bmux://home'))['BMUX_RUNTIME_DIR'] ?? '';
      t.ok(await ask(folder));
      await linkTo(second);
      await isDialled(second);
      t.equal((await second.status()).server?.hellos, 0);
      t.ok(await ask(folder));
      t.equal((await second.status()).iroh?.connections, 1, 'the client uses the warm connection');
    });

    await t.test('a link of the control plane, when its host is gone', async (t) => {
      const plane = await controlPlane(t);
      plane.leadTo(addressOf(second));
      await writeFile(join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'auth-state.json'), '{"access_token":"t"}');
      await bmuxd.configure('bmux.toml', `[connections]\ncontrol_plane_url = "${plane.url}"\n`);
      const folder = (await targetSocketEnv(bmuxd, 'bmux://office'))['BMUX_RUNTIME_DIR'] ?? '';
      t.ok(await ask(folder));
      plane.leadTo(addressOf(third));
      await second.stop();
      await isDialled(third);
      t.equal((await third.status()).server?.hellos, 0);
      t.ok(await ask(folder));
      t.equal((await third.status()).iroh?.connections, 1, 'the client uses the warm connection');
    });
  },
);

t.test(
  'when a warm host hangs, the link is looked up again after half of the time limit',
  { buffered: true },
  async (t) => {
    const bmuxd = await startBmuxd({ settings: 'iroh.relays = "disabled"\n' });
    t.teardown(() => bmuxd.stop());
    const [first, second] = [await irohHost(t, bmuxd, 'first'), await irohHost(t, bmuxd, 'second')];
    const plane = await controlPlane(t);
    await writeFile(join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'auth-state.json'), '{"access_token":"t"}');
    const targets = Object.entries({ first, second }).map(([name, { iroh }]) =>
      targetToml(name, {
        transport: 'iroh',
        endpoint_id: iroh?.endpointId,
        iroh_ip_addr: iroh?.address,
        connect_timeout_ms: 3000,
      }),
    );
    await bmuxd.configure(
      'bmux.toml',
      `[connections]\ncontrol_plane_url = "${plane.url}"\n${targets.join('')}`,
    );
    plane.leadTo('first');
    const folder = (await targetSocketEnv(bmuxd, 'bmux://office'))['BMUX_RUNTIME_DIR'] ?? '';
    t.ok(await ask(folder));
    await halt(first.pid);
    t.teardown(() => process.kill(first.pid, 'SIGCONT'));

    const lookups = plane.lookups();
    // For a new principal there is no cached Hello.
    const same = ask(folder, { principalId: randomUUID() });
    await waitFor('a lookup', () => plane.lookups() > lookups);
    process.kill(first.pid, 'SIGCONT');
    t.ok(await same, 'the same host answers when it runs again');

    await halt(first.pid);
    plane.leadTo('second');
    t.ok(await ask(folder, { principalId: randomUUID() }), 'the host that the link now leads to answers');
    t.equal((await second.status()).server?.hellos, 1);
  },
);

t.test('the result of a slow lookup does not replace a later one', { buffered: true }, async (t) => {
  const bmuxd = await startBmuxd({ settings: 'iroh.relays = "disabled"\ncontrol_plane.timeout = 2500\n' });
  t.teardown(() => bmuxd.stop());
  const hosts: Embedded[] = [];
  for (const name of ['first', 'second', 'third', 'fourth']) hosts.push(await irohHost(t, bmuxd, name));
  const plane = await controlPlane(t);
  await writeFile(join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'auth-state.json'), '{"access_token":"t"}');
  await bmuxd.configure('bmux.toml', `[connections]\ncontrol_plane_url = "${plane.url}"\n`);

  const moves = async (
    name: string,
    [from, to]: readonly [Embedded, Embedded],
    later: (since: number) => Promise<void>,
  ): Promise<void> => {
    plane.answer();
    plane.leadTo(addressOf(from));
    const folder = (await targetSocketEnv(bmuxd, `bmux://${name}`))['BMUX_RUNTIME_DIR'] ?? '';
    t.ok(await ask(folder), name);
    const { iroh } = await to.status();
    plane.hang();
    const before = plane.lookups();
    await from.stop();
    await waitFor('a lookup before the next client', () => plane.lookups() > before);
    const since = performance.now();
    // After this time a new request gives up the hanging lookup.
    await new Promise((resolve) => setTimeout(resolve, 1000));
    plane.answer();
    plane.leadTo(addressOf(to));
    t.ok(await ask(folder), `${name}: a client during the lookup`);
    plane.hang();
    await later(since);
    t.ok(await ask(folder), `${name}: a client after the lookup`);
    t.equal(
      (await to.status()).iroh?.connections,
      (iroh?.connections ?? 0) + 1,
      'both on the same connection',
    );
  };
  const [first, second, third, fourth] = hosts as [Embedded, Embedded, Embedded, Embedded];
  await moves('late', [first, second], async () => {
    plane.answerLate(addressOf(first));
    await new Promise((resolve) => setTimeout(resolve, 300));
  });
  await moves('failed', [third, fourth], async (since) => {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, since + 3500 - performance.now())));
  });
});
