// Tests the store of clients of target sockets: which clients share a folder, which environment and agents are used for them, and what is saved.
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ClientFile } from '../../../daemon/control/target-sockets/clients/client-file.ts';
import type { ClientEnvironment } from '../../../daemon/control/target-sockets/clients/clients.ts';
import { ClientStore } from '../../../daemon/control/target-sockets/clients/client-store.ts';

async function storeFor(t: Test) {
  const dir = await mkdtemp(join(tmpdir(), 'bmuxd-clients-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  const path = join(dir, 'state', 'contexts.json');
  const warnings: string[] = [];
  const file = new ClientFile({ path, log: { warn: (text) => warnings.push(text) } });
  const view = { context: '00000000', reads: new Map<string, string | undefined>() };
  const open = (): ClientStore =>
    new ClientStore({ dir, file, view: () => Promise.resolve(view), own: { env: { HOME: dir }, cwd: dir } });
  const client = (env: ClientEnvironment['env'] = {}): ClientEnvironment => ({
    env: { HOME: dir, ...env },
    cwd: dir,
    slot: undefined,
  });
  return { dir, path, warnings, view, open, client, own: join(dir, 'targets') };
}

t.test('a file that another user can have written is not used', async (t) => {
  const dir = t.testdir({ 'contexts.json': '{"version":1,"contexts":[{"env":{},"inline":[]}]}' });
  const path = join(dir, 'contexts.json');
  const warnings: string[] = [];
  const file = new ClientFile({ path, log: { warn: (text) => warnings.push(text) } });
  await chmod(path, 0o600);
  t.equal((await file.load()).length, 1);
  await chmod(path, 0o602);
  t.same(await file.load(), []);
  t.same(warnings, [`the contexts in ${path} are ignored: the file can be changed by others (mode 0602)`]);
});

t.test('the SSH agents of all clients are kept, the latest first', async (t) => {
  const { dir, open, client, own, view } = await storeFor(t);
  const store = open();
  await store.load();
  const use = (agent?: string): boolean => {
    const environment = client(agent === undefined ? {} : { SSH_AUTH_SOCK: agent });
    return store.use(store.folderOf(environment, view), environment);
  };
  t.equal(use('/old'), true, 'another agent is a change');
  t.equal(use('/login'), true);
  t.equal(use(), false, 'a client without an agent changes nothing');
  t.strictSame(store.get(own)?.agents, ['/login', '/old']);
  t.equal(store.get(own)?.environment.env.SSH_AUTH_SOCK, '/login');
  t.equal(use('/old'), true);
  t.strictSame(store.get(own)?.agents, ['/old', '/login']);
  for (const agent of ['/1', '/2', '/3', '/4']) use(agent);
  t.strictSame(store.get(own)?.agents, ['/4', '/3', '/2', '/1'], 'at most 4');
  use('8080');
  t.equal(store.get(own)?.agents[0], join(dir, '8080'), 'a relative path is below the folder of that client');
});

t.test('clients share a folder unless the config reads a variable that differs', async (t) => {
  const { dir, open, client, own } = await storeFor(t);
  const store = open();
  await store.load();
  const nothingRead = { context: '0000000a', reads: new Map<string, string | undefined>() };
  t.equal(store.folderOf(client({ HOST: 'b' }), nothingRead), own);
  const reads = { context: '0000000b', reads: new Map([['HOST', 'b']]) };
  const folder = store.folderOf(client({ HOST: 'b' }), reads);
  t.equal(folder, join(dir, 'targets-0000000b'));
  store.use(folder, client({ HOST: 'b' }));
  t.equal(store.folderOf(client({ HOST: 'b' }), reads), folder, 'the same client gets the same folder');
  t.equal(store.folderOf(client(), { ...reads, reads: new Map([['HOST', undefined]]) }), own);
});

t.test('contexts above the maximum are removed, the least recently used first', async (t) => {
  const { dir, open, client, own } = await storeFor(t);
  const store = open();
  await store.load();
  const folders = ['a', 'b', 'c'].map((name) => join(dir, `targets-${name}`));
  for (const folder of folders) store.use(folder, client());
  store.use(folders[0] ?? '', client());
  const stays = (folder: string): boolean => folder === folders[1];
  t.strictSame(
    store.forgetOldest(2, stays),
    [folders[2], folders[0]],
    'a context that is in use is not removed',
  );
  t.strictSame(
    store.forgetOldest(0, () => false),
    [folders[1]],
  );
  t.ok(store.get(own) !== undefined, "the daemon's own context is never removed");
});

t.test('above the maximum a new inline target replaces the least recently used', async (t) => {
  const { open, own } = await storeFor(t);
  const store = open();
  await store.load();
  for (let port = 1; port <= 64; port += 1)
    t.equal(store.keepInline(own, `tls://h:${String(port)}`), undefined);
  t.equal(store.keepInline(own, 'tls://h:1'), undefined, 'a known inline target replaces none');
  t.equal(store.keepInline(own, 'tls://h:65'), 'tls://h:2');
  t.equal(store.get(own)?.inline.size, 64);
});

t.test('saved contexts are loaded with their folders, and contain no secrets', async (t) => {
  const { dir, path, open, client, own, warnings } = await storeFor(t);
  const store = open();
  await store.load();
  const [folder, other] = [join(dir, 'targets-0123abcd'), join(dir, 'targets-89abcdef')];
  store.use(
    folder,
    client({ HOST: 'b', SSH_AUTH_SOCK: '/agent', BMUX_CONTROL_PLANE_URL: 'https://me:hunter2@x/' }),
  );
  t.equal(store.confirm(folder), true);
  t.equal(store.confirm(folder), false, 'a folder is confirmed only once');
  store.use(other, client({ HOST: 'c' }));
  store.keepInline(folder, 'tls://h:1');
  store.keepInline(folder, 'iroh://id?relay=https://me:hunter2@x/');
  await store.save();
  const text = await readFile(path, 'utf8');
  t.notMatch(text, /hunter2/);
  const again = open();
  await again.load();
  t.same(
    new Set(again.folders()),
    new Set([own, folder]),
    'a context that got no target socket is not saved',
  );
  t.strictSame([...(again.get(folder)?.inline.keys() ?? [])], ['tls://h:1']);
  t.strictSame(again.get(folder)?.agents, ['/agent']);
  t.equal(store.forgetUnconfirmed(folder), false);
  t.equal(store.forgetUnconfirmed(other), true);

  for (const broken of ['{', '{"version":2,"contexts":[]}', ' '.repeat(1024 * 1024 + 1)]) {
    await writeFile(path, broken);
    const without = open();
    await without.load();
    t.strictSame(without.folders(), [own]);
  }
  t.equal(warnings.length, 3, 'each broken file is logged');
});
