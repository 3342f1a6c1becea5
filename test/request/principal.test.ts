// Tests daemon/request/principal.ts and uuid.ts: one id for all processes, no partial file, and parsing as lenient as in bmux.
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import promises, { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import t from 'tap';
import { loadPrincipalId } from '../../daemon/request/principal.ts';
import { failureOf } from '../policy/failure-of.ts';
import { enclosed, runBmux } from '../policy/real-bmux.ts';
import { realBmux } from '../real/index.ts';
import { ownFolder } from '../target/sample.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

t.test('made with its folders, and kept', async (t) => {
  const principalId = join(await ownFolder(t), 'data', 'runtime', 'principal-id');
  const id = await loadPrincipalId({ paths: { principalId } });
  t.match(id, UUID);
  t.equal(await readFile(principalId, 'utf8'), id);
  t.equal(await loadPrincipalId({ paths: { principalId } }), id);
  t.same(await readdir(dirname(principalId)), ['principal-id'], 'nothing else is left');
});

t.test('many processes at once end with one id', { timeout: 120_000 }, async (t) => {
  const principalId = join(await ownFolder(t), 'runtime', 'principal-id');
  const program = join(import.meta.dirname, 'principal-child.js');
  const children: ChildProcess[] = [];
  t.teardown(() => children.forEach((child) => child.kill()));
  // Without the loaders of the test runner, which take most of the time.
  const env = { ...process.env, NODE_OPTIONS: '' };
  for (let n = 0; n < 20; n += 1)
    children.push(fork(program, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env, execArgv: [] }));
  await Promise.all(children.map((child) => once(child, 'message')));
  const answers = children.map((child) => once(child, 'message'));
  for (const child of children) child.send(principalId);
  const got = new Set((await Promise.all(answers)).map(([answer]) => JSON.stringify(answer)));
  t.equal(got.size, 1, [...got].join(' '));
  t.same([...got], [JSON.stringify({ id: await readFile(principalId, 'utf8') })]);
  t.same(await readdir(dirname(principalId)), ['principal-id']);
});

t.test('many at once in one process', async (t) => {
  const principalId = join(await ownFolder(t), 'runtime', 'principal-id');
  const ids = await Promise.all(
    Array.from({ length: 50 }, () => loadPrincipalId({ paths: { principalId } })),
  );
  t.equal(new Set(ids).size, 1);
});

t.test('what is read', async (t) => {
  const principalId = join(await ownFolder(t), 'principal-id');
  const id = '00112233-4455-6677-8899-aabbccddeeff';
  const rows: [content: string, ok: boolean][] = [
    [id, true],
    [`  ${id}\n`, true],
    [id.toUpperCase(), true],
    [id.replaceAll('-', ''), true],
    [`{${id}}`, true],
    [`urn:uuid:${id.toUpperCase()}`, true],
    [`URN:UUID:${id}`, false],
    [`{${id.replaceAll('-', '')}}`, false],
    [`{${id}`, false],
    [`${id}}`, false],
    [id.slice(1), false],
    [`${id}0`, false],
    [id.replace('-', ''), false],
    [id.replace('0', 'g'), false],
    [id.replace('0011', '00é'), false],
    ['nonsense', false],
    [' \n ', false],
  ];
  for (const [content, ok] of rows) {
    await writeFile(principalId, content);
    if (ok) t.equal(await loadPrincipalId({ paths: { principalId } }), id, content);
    else {
      const detail = `invalid principal id in ${principalId}: ${content.trim()}`;
      const failure = await failureOf(() => loadPrincipalId({ paths: { principalId } }));
      t.hasStrict(failure, { code: 'principal_invalid', detail }, content);
      t.equal(await readFile(principalId, 'utf8'), content, 'never replaced');
    }
  }
});

t.test('an empty file that another program is just writing is waited for', async (t) => {
  const dir = await ownFolder(t);
  const principalId = join(dir, 'principal-id');
  await writeFile(principalId, '');
  const loading = loadPrincipalId({ paths: { principalId } });
  // About the time that the first read of the empty file takes.
  for (let n = 0; n < 10; n += 1) await stat(principalId);
  await writeFile(principalId, '00112233-4455-6677-8899-aabbccddeeff');
  t.equal(await loading, '00112233-4455-6677-8899-aabbccddeeff');
});

t.test("with file handles of Yarn's Plug'n'Play, which have no sync()", async (t) => {
  const { open } = promises;
  const opened = async (...args: Parameters<typeof open>): Promise<unknown> =>
    Object.assign(await open(...args), { sync: undefined });
  t.intercept(promises, 'open', { value: opened });
  syncBuiltinESMExports();
  t.teardown(syncBuiltinESMExports);
  const principalId = join(await ownFolder(t), 'runtime', 'principal-id');
  t.equal(await loadPrincipalId({ paths: { principalId } }), await readFile(principalId, 'utf8'));
});

t.test('failures name the file', async (t) => {
  const dir = await ownFolder(t);
  const rows: [name: string, code: string, detail: string, make: (path: string) => Promise<unknown>][] = [
    ['folder', 'principal_unreadable', 'failed reading principal id file', (path) => mkdir(path)],
    [
      'latin1',
      'principal_unreadable',
      'failed reading principal id file',
      (path) => writeFile(path, Buffer.from([0xe9])),
    ],
    [
      'dangling',
      'principal_unreadable',
      'failed reading principal id file',
      (path) => symlink('/nonexistent/x', path),
    ],
  ];
  for (const [name, code, detail, make] of rows) {
    const principalId = join(dir, name);
    await make(principalId);
    const failure = await failureOf(() => loadPrincipalId({ paths: { principalId } }));
    t.hasStrict(failure, { code, detail: `${detail} ${principalId}` }, name);
  }
  await writeFile(join(dir, 'file'), '');
  t.hasStrict(
    await failureOf(() => loadPrincipalId({ paths: { principalId: join(dir, 'file', 'runtime', 'p') } })),
    {
      code: 'principal_dir_uncreatable',
      detail: `failed creating principal id dir ${join(dir, 'file', 'runtime')}`,
    },
  );
  // Not even root can create a file there.
  const nowhere = process.platform === 'linux' ? '/proc/self/principal-id' : '/dev/principal-id';
  t.hasStrict(await failureOf(() => loadPrincipalId({ paths: { principalId: nowhere } })), {
    code: 'principal_unwritable',
    detail: `failed writing principal id file ${nowhere}`,
  });
});

const bmux = realBmux();
t.test(
  'the id that the real bmux wrote is ours',
  { skip: bmux === undefined && 'real bmux not found' },
  async (t) => {
    if (bmux === undefined) return;
    const dir = await ownFolder(t);
    const env = enclosed(dir);
    const started = await runBmux(bmux, ['server', 'start', '--daemon'], env);
    t.teardown(() => runBmux(bmux, ['server', 'stop'], env));
    t.equal(started.code, 0, started.stderr);
    await runBmux(bmux, ['list-sessions'], env);
    const principalId = join(dir, 'data', 'runtime', 'principal-id');
    const id = await loadPrincipalId({ paths: { principalId } });
    const said = await runBmux(bmux, ['server', 'whoami-principal'], env);
    t.match(said.stdout, id);
  },
);
