// What is learnt, in its file: several writers, broken files, bounds.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { ProtocolCache } from '../../daemon/hello/protocol-cache.ts';

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-learnt-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function load(path: string): Promise<{ readonly learnt: ProtocolCache; readonly warnings: string[] }> {
  const warnings: string[] = [];
  const learnt = new ProtocolCache({ path, warn: (message) => warnings.push(message) });
  await learnt.load();
  return { learnt, warnings };
}

const zstd4 = { epoch: 4, compression: 'zstd' } as const;

t.test('kept over a restart, for its owner alone', async (t) => {
  const path = join(await folderOf(t), 'state', 'protocol-cache.json');
  const { learnt, warnings } = await load(path);
  t.equal(learnt.get('tls:a:443'), undefined);
  learnt.record('tls:a:443', zstd4);
  learnt.record('__proto__', { epoch: 3, compression: 'none' });
  await learnt.flushed();
  const again = await load(path);
  t.match(again.learnt.get('tls:a:443'), zstd4);
  t.match(again.learnt.get('__proto__'), { epoch: 3, compression: 'none' });
  t.equal((await stat(path)).mode & 0o777, 0o600);
  t.match(JSON.parse(await readFile(path, 'utf8')), { version: 1 });
  t.strictSame([...warnings, ...again.warnings], []);
});

t.test('a file that is none of ours is set aside, once, and what it held is not lost', async (t) => {
  for (const text of [
    '{ not json',
    '[]',
    '{"version":2,"facts":{}}',
    '{"version":1,"facts":{"a":{"epoch":5}}}',
  ]) {
    const folder = await folderOf(t);
    const path = join(folder, 'protocol-cache.json');
    await writeFile(path, text);
    // Two engines start at once: whoever comes second must not set aside what the first has written since.
    const both = await Promise.all([load(path), load(path)]);
    both[0].learnt.record('x', zstd4);
    both[1].learnt.record('y', zstd4);
    await Promise.all(both.map(({ learnt }) => learnt.flushed()));
    const { learnt } = await load(path);
    t.match([learnt.get('x'), learnt.get('y')], [zstd4, zstd4], text);
    const aside = (await readdir(folder)).filter((name) => name.includes('corrupt'));
    t.equal(aside.length, 1);
    t.equal(await readFile(join(folder, aside[0] ?? ''), 'utf8'), text);
    t.match(
      both.flatMap(({ warnings }) => warnings),
      [/set aside as/],
    );
  }
});

t.test('several engines learn at once, and nothing is lost', async (t) => {
  const folder = await folderOf(t);
  const path = join(folder, 'protocol-cache.json');
  const program = fileURLToPath(new URL('learner.js', import.meta.url));
  const learners = ['a', 'b', 'c'].map((name) => fork(program, [path, name, '20']));
  const ends = await Promise.all(learners.map((child) => once(child, 'exit')));
  t.strictSame(ends, [
    [0, null],
    [0, null],
    [0, null],
  ]);
  const { learnt, warnings } = await load(path);
  const missing = ['a', 'b', 'c']
    .flatMap((name) => Array.from({ length: 20 }, (_, i) => `${name}${i}`))
    .filter((address) => learnt.get(address) === undefined);
  t.strictSame(missing, []);
  t.strictSame(warnings, []);
  t.strictSame(await readdir(folder), ['protocol-cache.json'], 'no lock and no half-written file is left');
});

t.test('a lock that a killed engine left behind', async (t) => {
  const path = join(await folderOf(t), 'protocol-cache.json');
  await mkdir(`${path}.lock`);
  const { learnt } = await load(path);
  learnt.record('x', zstd4);
  await learnt.flushed();
  t.match((await load(path)).learnt.get('x'), zstd4, 'goes stale in time');
});

t.test('a file that cannot be written stops nothing, and is written when it can be', async (t) => {
  const folder = await folderOf(t);
  const inTheWay = join(folder, 'state');
  await writeFile(inTheWay, '');
  const path = join(inTheWay, 'protocol-cache.json');
  const { learnt, warnings } = await load(path);
  learnt.record('x', zstd4);
  await learnt.flushed();
  t.match(warnings.at(-1), /cannot write the protocol cache .*protocol-cache\.json/);
  t.match(learnt.get('x'), zstd4);
  await rm(inTheWay);
  learnt.record('y', zstd4);
  await learnt.flushed();
  const again = await load(path);
  t.match([again.learnt.get('x'), again.learnt.get('y')], [zstd4, zstd4]);
});

t.test('bounded', async (t) => {
  const path = join(await folderOf(t), 'protocol-cache.json');
  const { learnt } = await load(path);
  for (let i = 0; i < 600; i += 1) learnt.record(`host${i}`, zstd4);
  await learnt.flushed();
  t.equal(learnt.get('host0'), undefined);
  t.match(learnt.get('host599'), zstd4);
  const { facts } = JSON.parse(await readFile(path, 'utf8')) as { facts: object };
  t.equal(Object.keys(facts).length, 512);
});
