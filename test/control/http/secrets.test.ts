// Tests that no secret gets out of the daemon: not into its log, its files, its answers, or the arguments and environment of its processes.
import { lstat, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { Failure } from '../../../client-shim/index.ts';
import { startBmuxd } from '../../daemon/bmuxd.ts';
import { TestClient } from '../../embedded/client.ts';
import { EmbeddedServer } from '../../embedded/server/server.ts';
import { waitFor } from '../../real/child.ts';
import { eventsOf } from '../../target-sockets/target-socket.ts';

const SECRETS = {
  token: 'sAccess7f3a9c',
  plane: 'sPlane51bd',
  proxy: 'sProxy8e21',
  relay: 'sRelay90c4',
  relayToken: 'sRelayToken77',
  user: 'sPw3e',
  query: 'sQuery61aa',
  link: 'sLink02fb',
  linkToken: 'sLinkToken18',
  stored: 'sStored4d',
  typed: 'typed-c0ffee',
};
const ENDPOINT = 'ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6';
/** A relay on which nobody listens. */
const relay = (password: string, token: string): string =>
  `relay=http://me:${password}@127.0.0.1:1/?token=${token}`;

/** Names of all files below `folder`, and what is in them. */
async function contents(folder: string): Promise<string> {
  const names = await readdir(folder, { recursive: true });
  const texts = names.map(async (name) => {
    const path = join(folder, name);
    const info = await lstat(path);
    if (info.isSymbolicLink()) return `${name} ${await readlink(path)}`;
    return info.isFile() ? `${name} ${await readFile(path, 'utf8')}` : name;
  });
  return (await Promise.all(texts)).join('\n');
}

t.test('no secret gets out of the daemon', async (t) => {
  const seen: unknown[] = [];
  // The control plane is behind a proxy, and this server is both.
  const proxy = createServer(({ url = '', headers, headersDistinct }, response) => {
    seen.push([headersDistinct['authorization'], headers['proxy-authorization']]);
    if (url.endsWith('/mine')) response.end('{"target":"local"}');
    else if (url.endsWith('/far'))
      response.end(
        JSON.stringify({ target: `iroh://ab?${relay(SECRETS.link, 'x')}&token=${SECRETS.linkToken}` }),
      );
    else if (url.endsWith('/odd')) response.end(`{"target":"${SECRETS.linkToken}`);
    else if (url.endsWith('/cut')) response.destroy();
    else response.writeHead(407).end();
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    proxy.close();
    proxy.closeAllConnections();
  });
  const { port } = proxy.address() as AddressInfo;
  const config = `[connections]
control_plane_url = "http://me:${SECRETS.plane}@plane.test"
[connections.share_links]
stored = "iroh://ab?${relay(SECRETS.stored, SECRETS.stored)}&key=${SECRETS.stored}"
[connections.targets.mine]
transport = "local"
`;
  const given = { HTTP_PROXY: `http://me:${SECRETS.proxy}@127.0.0.1:${String(port)}` };
  const settings = `iroh.relays = ["http://me:${SECRETS.relay}@127.0.0.1:1/?token=${SECRETS.relayToken}"]\n`;
  const bmuxd = await startBmuxd({ config, settings, env: given });
  t.teardown(() => bmuxd.stop());
  const runtimeDir = bmuxd.env['BMUX_RUNTIME_DIR'] ?? '';
  await writeFile(join(runtimeDir, 'auth-state.json'), JSON.stringify({ access_token: SECRETS.token }), {
    mode: 0o600,
  });
  const server = await EmbeddedServer.start({ socketPath: join(runtimeDir, 'server.sock'), epoch: 4 });
  t.teardown(() => server.stop());
  const answered: string[] = [];
  const note = (answer: unknown): void => void answered.push(JSON.stringify(answer));
  const command = async (args: readonly string[]): Promise<void> => note(await bmuxd.bmuxd(args));

  const { stream, info } = await bmuxd.open({ target: 'bmux://mine' });
  note(info);
  const client = new TestClient(stream);
  await client.echo(Buffer.from(SECRETS.typed));
  await command(['streams', '--json']);
  await client.close();
  const far = `iroh://${ENDPOINT}?${relay(SECRETS.user, SECRETS.query)}&addr=127.0.0.1:1&k=${SECRETS.query}`;
  const addresses = [
    `iroh://ab?${relay(SECRETS.user, SECRETS.query)}`,
    `tls://u:${SECRETS.user}@127.0.0.1:1`,
    `tls://127.0.0.1:1?token=${SECRETS.query}`,
    `https://u:${SECRETS.user}@127.0.0.1:1/?token=${SECRETS.query}`,
    far,
  ];
  const links = ['far', 'odd', 'cut', 'other', 'stored'].map((name) => `bmux://${name}`);
  await Promise.all(
    [...addresses, ...links].map(async (target) => {
      const failure: unknown = await bmuxd.open({ target, timeoutMs: 2000 }).catch((error: unknown) => error);
      t.type(failure, Failure, target);
      note([String(failure), (failure as Failure).data]);
    }),
  );
  t.ok(seen.length >= 5 && seen.every(Array.isArray));
  const named = `Basic ${Buffer.from(`me:${SECRETS.plane}`).toString('base64')}`;
  t.match(seen[0], [[named, `Bearer ${SECRETS.token}`], /^Basic /], 'token and passwords were used');

  const shim = await bmuxd.shim([links[0] ?? '']);
  note([shim.stdout.toString(), shim.stderr]);
  for (const target of [...addresses, 'bmux://mine', ...links])
    note(await bmuxd.http('POST', '/v1/target-sockets', { 'bmux-request': JSON.stringify({ target }) }));
  await command(['env', links[0] ?? '']);
  await command(['drop', far]);
  const state = join(bmuxd.folder, 'xdg-state', 'bmuxd');
  await waitFor('the contexts to be saved', async () => (await contents(state)).includes('bmux://mine'));
  await bmuxd.configure('bmux.toml', `${config}\n[connections.targets.mine]\nx = "//u:${SECRETS.plane}@`);
  await writeFile(bmuxd.env['BMUXD_CONFIG'] ?? '', `iroh.relays = ["http://me:${SECRETS.relay}@[/"]\n`);
  for (const args of [['reload'], ['status'], ['status', '--json'], ['targets'], ['targets', '--json']])
    await command(args);
  const status = await bmuxd.status();
  note(status);
  t.not(status.problems.length, 0, 'the broken files are problems');
  note(await eventsOf(bmuxd));
  for (const path of ['/v1/health', '/v1/streams', '/v1/targets']) note(await bmuxd.http('GET', path));

  const texts: Record<string, string> = {
    log: bmuxd.log(),
    answers: answered.join('\n'),
    state: await contents(state),
    'runtime dir': await contents(join(bmuxd.folder, 'd')),
  };
  const values = new Set(Object.entries(bmuxd.env).map(([name, value]) => `${name}=${value}`));
  for (const pid of process.platform === 'linux' ? [bmuxd.pid, await bmuxd.enginePid()] : []) {
    texts[`arguments of ${String(pid)}`] = await readFile(`/proc/${String(pid)}/cmdline`, 'utf8');
    const environment = (await readFile(`/proc/${String(pid)}/environ`, 'utf8')).split('\0');
    t.ok(environment.includes(`HTTP_PROXY=${given.HTTP_PROXY}`), 'both look for a proxy');
    texts[`environment of ${String(pid)}`] = environment.filter((one) => !values.has(one)).join('\n');
  }
  for (const [place, text] of Object.entries(texts))
    for (const [name, secret] of Object.entries(SECRETS)) {
      const at = text.indexOf(secret);
      t.equal(at < 0 ? '' : text.slice(Math.max(0, at - 100), at + 50), '', `${name} in ${place}`);
    }
  t.match(texts['log'], /"msg":"request"/, 'the log contains debug lines');
  t.match(texts['state'], /contexts\.json/);
});
