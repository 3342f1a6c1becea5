// `bmuxd trust`, beside the daemon that uses the pins and the real program that reads the same store.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import t, { type Test } from 'tap';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import { realBmux, waitFor } from '../real/index.ts';
import { run } from '../real/server.ts';
import { issue } from '../transport/tls/chains/issue.ts';

/** A daemon, and a gateway that nobody has signed: the target `gateway`. `mode`: lines of bmux.toml before it. */
async function withGateway(t: Test, settings: string, mode = '') {
  const bmuxd = await startBmuxd({ settings });
  t.teardown(() => bmuxd.stop());
  const server = await launchEmbedded({
    socketPath: join(bmuxd.folder, 'server.sock'),
    server: { epoch: 4 },
    tls: { compression: 'zstd' },
  });
  t.teardown(() => server.stop());
  const { port } = server.tls ?? { port: 0 };
  const key = `127.0.0.1:${String(port)}`;
  await bmuxd.configure(
    'bmux.toml',
    `${mode}[connections.targets.gateway]\ntransport = "tls"\nhost = "127.0.0.1"\nport = ${String(port)}\n`,
  );
  return { bmuxd, server, port, key };
}

t.test('a gateway that nobody has signed: refused, trusted by a command, and refused again', async (t) => {
  // Spares also for a gateway that is near.
  const { bmuxd, key } = await withGateway(t, '[warmth]\nmin_round_trip = 0\n');
  const target = `tls://${key}`;
  const store = join(bmuxd.env['BMUX_STATE_DIR'] ?? '', 'known-gateways.toml');
  const spares = async (): Promise<number> =>
    (await bmuxd.upstreams()).reduce((sum, { spares }) => sum + spares, 0);
  const trust = (...args: string[]) => bmuxd.bmuxd(['trust', ...args]);

  const refused = await bmuxd.bmuxd(['warm', target]);
  t.equal(refused.status, 6);
  const [, fingerprint = ''] =
    /fingerprint (SHA256:[0-9a-f]{64}); trust prompt required/.exec(refused.stderr) ?? [];
  const command = `bmuxd trust add ${key} --fingerprint ${fingerprint}`;
  t.ok(refused.stderr.includes(command), refused.stderr);

  const bundle = join(bmuxd.folder, 'own-roots.pem');
  t.match(await bmuxd.bmuxd(['warm', target], { SSL_CERT_FILE: bundle }), {
    status: 6,
    stderr: `SSL_CERT_FILE=${bundle} of this command does not count: bmuxd reads its own environment.`,
  });

  t.match(await trust('add', 'gatwy'), {
    status: 2,
    stdout: '',
    stderr: "target 'gatwy' is not configured; did you mean gateway?",
  });
  t.match(await trust('add', 'gateway'), { status: 6, stdout: `The TLS gateway at ${key} presents:` });
  t.match(await trust('add', key), {
    status: 6,
    stderr: /refusing to prompt without an interactive terminal/,
  });
  t.match(await trust('add', key, '--fingerprint', 'SHA256:00'), {
    status: 6,
    stderr: /does not have the fingerprint SHA256:00, but SHA256:/,
  });
  for (const text of [
    '::1',
    '[::1',
    `${key}:1`,
    `${key.slice(0, -1)}:`,
    'iroh://x',
    `${key}/path`,
    `user@${key}`,
    `tls://${key}?server_name=x`,
  ])
    t.match(await trust('add', text, '--yes'), { status: 2, stderr: 'is not HOST:PORT' }, text);
  t.match(await trust('add', key, '--fingerprint', 'AA:BB'), {
    status: 2,
    stderr: "'AA:BB' is no fingerprint",
  });
  await t.rejects(readFile(store), 'nothing was written');
  for (const broken of ['gateways = []\n', '[gateways."b:1"]\nfingerprint_sha256 = 5\n']) {
    await writeFile(store, broken);
    for (const args of [['list'], ['add', key, '--yes']])
      t.match(await trust(...args), { status: 6, stderr: 'failed parsing known gateways store' }, broken);
    t.equal(await readFile(store, 'utf8'), broken);
  }

  await writeFile(
    store,
    'other = 1\n[gateways."a:1"]\nfingerprint_sha256 = "SHA256:aa"\ntrusted_at_unix_ms = 1\nmore = "x"\n',
  );
  const added = await trust('add', ` ${target} `, '--fingerprint', fingerprint.toUpperCase());
  t.match(added, { status: 0, stdout: `trusted TLS gateway ${key}: ${fingerprint}\n` });
  t.match(added.stdout, /subject .*\n {2}names .*DNS:localhost.*\n {2}valid .*\n {2}fingerprint {2}SHA256:/);
  const text = await readFile(store, 'utf8');
  t.match(text, /^other = 1\n/m, 'other fields are kept');
  t.match(text, /^more = "x"\n/m);
  t.match(text, /^trusted_at_unix_ms = \d{13}\n/m);
  t.match(await trust('list'), { status: 0, stdout: new RegExp(`${key} +${fingerprint} +store +${target}`) });

  t.match(await bmuxd.bmuxd(['warm', target]), { status: 0 });
  t.match(await bmuxd.bmuxd(['status', target]), { status: 0, stdout: /^ {2}state +warm$/m });
  t.match(await bmuxd.bmuxd(['drop', target]), { status: 0 });

  const program = realBmux();
  if (program === undefined) t.comment('real bmux not found: its list not compared');
  else {
    const real = await run(program, ['remote', 'trust', 'list'], bmuxd.env);
    t.match(real, { status: 0, stdout: `${key}\t${fingerprint}\tsource=local\tlabel=${target}` });
  }

  const live = await bmuxd.open({ target });
  live.stream.on('error', () => undefined);
  await waitFor('spares', async () => (await spares()) > 0);
  if (program === undefined)
    t.match(await trust('remove', key), { status: 0, stdout: `removed local TLS trust pin for ${key}\n` });
  else t.match(await run(program, ['remote', 'trust', 'remove', key], bmuxd.env), { status: 0 });
  await waitFor('the live stream to be named', () =>
    bmuxd.log().includes(`the pin of TLS gateway ${key} was removed or changed`),
  );
  await waitFor('no spares', async () => (await spares()) === 0);
  t.equal(live.stream.destroyed, false, 'the live stream goes on');
  live.stream.destroy();
  t.match(await trust('remove', key), { status: 2, stderr: /pin not found/ });
  t.match(await bmuxd.bmuxd(['warm', target]), { status: 6, stderr: /is unknown; fingerprint/ });

  t.match(await trust('add', key, '--yes'), { status: 0 });
  const own = fingerprint.replace(/.$/, (last) => (last === '0' ? '1' : '0'));
  await writeFile(store, (await readFile(store, 'utf8')).replace(fingerprint, own));
  const changed = await bmuxd.bmuxd(['warm', target]);
  t.match(await trust('add', key), {
    status: 6,
    stdout: `ANOTHER certificate is trusted for this gateway until now: ${own}`,
  });
  t.match(changed, {
    status: 6,
    stderr: `expected ${own} from local known-gateways store, received ${fingerprint}`,
  });
  await bmuxd.configure(
    'bmux.toml',
    `[connections.tls_trust]\nmode = "require_known"\n[connections.tls_trust.known_gateways."${key}"]\nfingerprint_sha256 = "${fingerprint}"\n`,
  );
  t.match(await bmuxd.bmuxd(['warm', target]), { status: 0 }, 'the pin of the config comes first');
  t.match(await trust('list'), { stdout: /mode: require_known\n[^]* config\s/ });
  await writeFile(store, 'junk =');
  t.match(await trust('list'), { status: 6, stderr: /failed parsing known gateways store/ });
});

t.test('a gateway is asked for the name that its target has', async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  const asked: unknown[] = [];
  const own = issue({ subject: 'gateway', names: ['gateway.test'] });
  const key = own.keys.privateKey.export({ type: 'pkcs8', format: 'pem' });
  const server = createServer({ cert: own.pem, key }, (socket) => {
    asked.push(socket.servername);
    socket.on('error', () => undefined);
    socket.end();
  });
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  t.teardown(() => server.close());
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? String(address.port) : '';
  const target = `transport = "tls"\nhost = "localhost"\nport = ${port}\nserver_name = "gateway.test"\n`;
  await bmuxd.configure('bmux.toml', `[connections.targets.gw]\n${target}`);
  for (const gateway of ['gw', `localhost:${port}`])
    t.match(await bmuxd.bmuxd(['trust', 'add', gateway, '--yes']), { status: 0 }, gateway);
  t.strictSame(asked, ['gateway.test', 'gateway.test']);
});

t.test('trust_new: after the first contact there is a spare for the next request', async (t) => {
  const trustNew = '[connections.tls_trust]\nmode = "trust_new"\n';
  const { bmuxd, server, key } = await withGateway(t, '[targets.gateway]\nspares = 1\n', trustNew);
  const accepted = async (): Promise<number> => (await server.status()).tls?.accepted ?? 0;
  const spares = async (): Promise<number> => (await bmuxd.upstreams())[0]?.spares ?? 0;
  const isTrusted = async (): Promise<boolean> =>
    (await bmuxd.bmuxd(['trust', 'list'])).stdout.includes(`${key} `);
  const open = async (): Promise<boolean> => {
    const { stream, info } = await bmuxd.open({ target: 'gateway' });
    stream.end();
    stream.resume();
    return info.warm;
  };

  t.equal(await open(), false, 'the first contact');
  t.equal(await isTrusted(), true);
  await waitFor('a spare', async () => (await spares()) === 1);
  const before = await accepted();
  t.equal(await open(), true, 'the second request has the spare');
  await waitFor('its successor', async () => (await spares()) === 1);
  t.equal((await accepted()) - before, 1, 'only its successor is a new connection');

  t.match(await bmuxd.bmuxd(['trust', 'remove', key]), { status: 0 });
  await waitFor('no spares', async () => (await spares()) === 0);
  t.equal(await isTrusted(), false, 'no spare brings the pin back');
});
