// Tests daemon/policy/server-meta.ts, meta-format.ts and build-id.ts: exact bytes, strict reading, atomic writing.
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { encodeServerMeta } from '../../daemon/policy/meta-format.ts';
import {
  buildIdOf,
  metaForPolicy,
  readServerMeta,
  removeServerMeta,
  writeServerMeta,
} from '../../daemon/policy/server-meta.ts';
import { failureOf } from './failure-of.ts';

const VECTORS = resolve(import.meta.dirname, '../../../test/vectors');

async function folder(t: Test): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'bmuxd-meta-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

const GOOD = {
  pid: 42,
  version: 'v',
  build_id: 'b',
  executable_path: '/x',
  started_at_epoch_ms: 7,
};

for (const name of ['v3-server-meta.json', 'v4-server-meta.json']) {
  t.test(`${name}: read, and written again, it is the same bytes`, async (t) => {
    const path = join(VECTORS, name);
    const meta = await readServerMeta({ serverMeta: path });
    t.ok(meta);
    t.equal(meta && encodeServerMeta(meta), await readFile(path, 'utf8'));
  });
}

t.test('what is read strictly', async (t) => {
  const serverMeta = join(await folder(t), 'server-meta.json');
  const rows: [name: string, text: string | Uint8Array, ok: boolean][] = [
    ['all fields', JSON.stringify(GOOD), true],
    ['an unknown field', JSON.stringify({ ...GOOD, more: [1, '2', { a: 1.5e3 }] }), true],
    ['slot null', JSON.stringify({ ...GOOD, slot_name: null }), true],
    [
      'strings with quotes, colons and digits',
      JSON.stringify({ ...GOOD, version: '"1": \\"2\\\\', build_id: '#1-2' }),
      true,
    ],
    ['largest u32 and u64', text({ pid: '4294967295', started_at_epoch_ms: '18446744073709551615' }), true],
    ['pid above u32', text({ pid: '4294967296' }), false],
    ['pid a float', text({ pid: '42.0' }), false],
    ['pid with an exponent', text({ pid: '1e2' }), false],
    ['pid negative', text({ pid: '-1' }), false],
    ['pid a string', text({ pid: '"42"' }), false],
    ['pid a string with our mark', text({ pid: '"#42"' }), false],
    ['started above u64', text({ started_at_epoch_ms: '18446744073709551616' }), false],
    ['version a number', text({ version: '1' }), false],
    ['slot a number', JSON.stringify({ ...GOOD, slot_name: 1 }), false],
    ['not JSON', '{', false],
    ['a second value', `${JSON.stringify(GOOD)}{}`, false],
    ['an array', '[]', false],
    ['null', 'null', false],
    ['empty', '', false],
    ['byte order mark', `\ufeff${JSON.stringify(GOOD)}`, false],
    ['not UTF-8', Buffer.from(JSON.stringify({ ...GOOD, version: 'é' }), 'latin1'), false],
    ...Object.keys(GOOD).map((key): [string, string, boolean] => [
      `without ${key}`,
      JSON.stringify({ ...GOOD, [key]: undefined }),
      false,
    ]),
  ];
  for (const [name, content, ok] of rows) {
    await writeFile(serverMeta, content);
    if (ok) t.match(await readServerMeta({ serverMeta }), { executablePath: '/x' }, name);
    else {
      const detail = `failed parsing server metadata file ${serverMeta}; remove stale file and retry`;
      t.hasStrict(
        await failureOf(() => readServerMeta({ serverMeta })),
        { code: 'server_meta_unparsable', detail },
        name,
      );
      t.equal(await metaForPolicy({ serverMeta }), undefined, name);
    }
  }
  await writeFile(serverMeta, JSON.stringify({ ...GOOD, slot_name: 'dev' }));
  t.match(await readServerMeta({ serverMeta }), {
    pid: 42,
    buildId: 'b',
    startedAtEpochMs: 7,
    slotName: 'dev',
  });

  function text(change: Record<string, string>): string {
    const fields = Object.entries(GOOD).map(
      ([key, value]) => `"${key}":${change[key] ?? JSON.stringify(value)}`,
    );
    return `{${fields.join(',')}}`;
  }
});

t.test('a file that is not there, or cannot be read', async (t) => {
  const dir = await folder(t);
  const serverMeta = join(dir, 'server-meta.json');
  t.equal(await readServerMeta({ serverMeta }), undefined);
  const unreadable = {
    code: 'server_meta_unreadable',
    detail: `failed reading server metadata file ${serverMeta}`,
  };
  await mkdir(serverMeta);
  t.hasStrict(await failureOf(() => readServerMeta({ serverMeta })), unreadable, 'a folder');
  t.equal(await metaForPolicy({ serverMeta }), undefined);
  await rm(serverMeta, { recursive: true });
  execFileSync('mkfifo', [serverMeta]);
  t.hasStrict(
    await failureOf(() => readServerMeta({ serverMeta })),
    unreadable,
    'a pipe that nobody writes to',
  );
  await rm(serverMeta);
  await writeFile(serverMeta, Buffer.alloc(70_000, ' '));
  t.hasStrict(await failureOf(() => readServerMeta({ serverMeta })), unreadable, 'too large');
});

t.test('written as the real server writes it', async (t) => {
  const dir = await folder(t);
  const executablePath = join(dir, 'bmux');
  const runtimeDir = join(dir, 'a', 'run');
  const path = join(runtimeDir, 'server-meta.json');
  await writeFile(executablePath, '');
  await truncate(executablePath, 65762456);
  await utimes(executablePath, 0, 1795397525.6339);
  const before = Date.now();
  const meta = await writeServerMeta({ runtimeDir, pid: 22474, version: '0.0.1-alpha.0', executablePath });
  t.ok(meta.startedAtEpochMs >= before && meta.startedAtEpochMs <= Date.now());
  t.equal(
    await readFile(path, 'utf8'),
    (await readFile(join(VECTORS, 'v3-server-meta.json'), 'utf8'))
      .replace('/usr/local/bin/bmux', executablePath)
      .replace('1795397525844', String(meta.startedAtEpochMs)),
  );
  await writeServerMeta({
    env: { BMUX_RUNTIME_DIR: runtimeDir },
    pid: 1,
    version: 'v',
    executablePath,
    slotName: 'dev',
  });
  t.match(await readFile(path, 'utf8'), /,\n {2}"slot_name": "dev"\n\}$/);
  t.same(await readdir(runtimeDir), ['server-meta.json'], 'nothing else is left');
  await removeServerMeta({ env: { BMUX_RUNTIME_DIR: runtimeDir } });
  t.same(await readdir(runtimeDir), []);
  await removeServerMeta({ runtimeDir });
});

t.test('a reader never sees half a file', async (t) => {
  const runtimeDir = await folder(t);
  const server = { runtimeDir, pid: 1, version: 'v'.repeat(20_000), executablePath: process.execPath };
  await writeServerMeta(server);
  let writing = true;
  const writes = (async () => {
    for (let n = 0; n < 40; n += 1) await writeServerMeta(server);
    writing = false;
  })();
  let reads = 0;
  while (writing) {
    await readServerMeta({ serverMeta: join(runtimeDir, 'server-meta.json') });
    reads += 1;
  }
  await writes;
  t.ok(reads > 0);
});

t.test('the refusal to write: both slots known, different, and the other process alive', async (t) => {
  const runtimeDir = await folder(t);
  const path = join(runtimeDir, 'server-meta.json');
  const gone = execFileSync(process.execPath, ['-p', 'process.pid'], { encoding: 'utf8' }).trim();
  const rows: [name: string, other: object | string, slotName: string | undefined, refused: boolean][] = [
    ['another slot, alive', { ...GOOD, pid: process.pid, slot_name: 'stable' }, 'dev', true],
    ['another user’s process is alive too', { ...GOOD, pid: 1, slot_name: 'stable' }, 'dev', true],
    ['same slot', { ...GOOD, pid: process.pid, slot_name: 'dev' }, 'dev', false],
    ['other without a slot', { ...GOOD, pid: process.pid }, 'dev', false],
    ['we without a slot', { ...GOOD, pid: process.pid, slot_name: 'stable' }, undefined, false],
    ['other gone', { ...GOOD, pid: Number(gone), slot_name: 'stable' }, 'dev', false],
    ['pid 0', { ...GOOD, pid: 0, slot_name: 'stable' }, 'dev', false],
    ['pid of no process', { ...GOOD, pid: 4294967295, slot_name: 'stable' }, 'dev', false],
    ['unparsable', '{', 'dev', false],
  ];
  for (const [name, other, slotName, refused] of rows) {
    await writeFile(path, typeof other === 'string' ? other : JSON.stringify(other));
    const before = await readFile(path, 'utf8');
    const writing = writeServerMeta({
      runtimeDir,
      pid: 5,
      version: 'v',
      executablePath: process.execPath,
      slotName,
    });
    if (!refused) {
      t.match(await writing, { pid: 5 }, name);
      continue;
    }
    const { pid } = JSON.parse(before) as { pid: number };
    const detail = `refusing to start server under slot "dev": another live server (pid=${String(pid)}) is already running here under slot "stable". Stop it first with \`bmux-stable server stop\`.`;
    t.hasStrict(
      await failureOf(() => writing),
      { code: 'server_meta_conflict', detail, exitStatus: 5 },
      name,
    );
    t.equal(await readFile(path, 'utf8'), before, 'untouched');
  }
});

t.test('failures of writing and removing', async (t) => {
  const dir = await folder(t);
  const runtimeDir = join(dir, 'run');
  const server = { runtimeDir, pid: 1, version: 'v', executablePath: process.execPath };
  const missing = join(dir, 'none');
  t.hasStrict(await failureOf(() => writeServerMeta({ ...server, executablePath: missing })), {
    code: 'executable_unreadable',
    detail: `failed reading executable metadata ${missing}`,
  });
  await mkdir(join(runtimeDir, 'server-meta.json'), { recursive: true });
  t.hasStrict(await failureOf(() => writeServerMeta(server)), { code: 'server_meta_unwritable' });
  t.same(await readdir(runtimeDir), ['server-meta.json'], 'the temporary file is gone');
  t.hasStrict(await failureOf(() => removeServerMeta({ runtimeDir })), { code: 'server_meta_unremovable' });
  await writeFile(join(dir, 'file'), '');
  t.hasStrict(await failureOf(() => writeServerMeta({ ...server, runtimeDir: join(dir, 'file', 'run') })), {
    code: 'runtime_dir_uncreatable',
    detail: `failed creating runtime dir ${join(dir, 'file', 'run')}`,
  });
  t.equal(await metaForPolicy({ serverMeta: join(dir, 'file', 'server-meta.json') }), undefined);
});

t.test('build id', async (t) => {
  const path = join(await folder(t), 'x');
  await writeFile(path, '12345');
  await chmod(path, 0);
  const rows: [mtime: number, id: string][] = [
    [1795397525.6339, '5-1795397525633'],
    [0, '5-0'],
    [0.9999, '5-999'],
    [-5.5, '5-0'],
  ];
  for (const [mtime, id] of rows) {
    if (mtime >= 0) await utimes(path, 0, mtime);
    // Node's utimes replaces a time before the epoch by now; only GNU touch can set one.
    else if (process.platform === 'linux') execFileSync('touch', ['-d', `@${String(mtime)}`, path]);
    else continue;
    t.equal(await buildIdOf(path), id);
  }
});
