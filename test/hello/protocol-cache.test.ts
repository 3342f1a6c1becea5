// The file of the protocol cache: several writers, corrupt files, bounds.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { ProtocolCache } from '../../daemon/hello/protocol-cache.ts';

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-protocol-cache-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function load(path: string): Promise<{ readonly cache: ProtocolCache; readonly warnings: string[] }> {
  const warnings: string[] = [];
  const cache = new ProtocolCache({ path, log: { warn: (message) => warnings.push(message) } });
  await cache.load();
  return { cache, warnings };
}

const zstd4 = { epoch: 4, compression: 'zstd' } as const;

t.test('facts are kept over a restart, in a file that only its owner can read', async (t) => {
  const path = join(await folderOf(t), 'state', 'protocol-cache.json');
  const { cache, warnings } = await load(path);
  t.equal(cache.get('tls:a:443'), undefined);
  cache.record('tls:a:443', zstd4);
  cache.record('__proto__', { epoch: 3, compression: 'none' });
  await cache.flushed();
  const again = await load(path);
  t.match(again.cache.get('tls:a:443'), zstd4);
  t.match(again.cache.get('__proto__'), { epoch: 3, compression: 'none' });
  t.equal((await stat(path)).mode & 0o777, 0o600);
  t.match(JSON.parse(await readFile(path, 'utf8')), { version: 1 });
  t.strictSame([...warnings, ...again.warnings], []);
});

t.test('a file that another user can have written is not used', async (t) => {
  const path = join(await folderOf(t), 'protocol-cache.json');
  const { cache } = await load(path);
  cache.record('tls:a:443', zstd4);
  await cache.flushed();
  await chmod(path, 0o666);
  const again = await load(path);
  t.equal(again.cache.get('tls:a:443'), undefined);
  t.match(again.warnings, [/set aside as/]);
  again.cache.record('tls:b:443', zstd4);
  await again.cache.flushed();
  t.match((await load(path)).cache.get('tls:b:443'), zstd4);
});

t.test('a corrupt file is renamed once, and its content is kept', async (t) => {
  for (const text of [
    '{ not json',
    '[]',
    '{"version":2,"facts":{}}',
    '{"version":1,"facts":{"a":{"epoch":5}}}',
  ]) {
    const folder = await folderOf(t);
    const path = join(folder, 'protocol-cache.json');
    await writeFile(path, text);
    // Two engines start at once: the second must not rename the file that the first has written in the meantime.
    const both = await Promise.all([load(path), load(path)]);
    both[0].cache.record('x', zstd4);
    both[1].cache.record('y', zstd4);
    await Promise.all(both.map(({ cache }) => cache.flushed()));
    const { cache } = await load(path);
    t.match([cache.get('x'), cache.get('y')], [zstd4, zstd4], text);
    const aside = (await readdir(folder)).filter((name) => name.includes('corrupt'));
    t.equal(aside.length, 1);
    t.equal(await readFile(join(folder, aside[0] ?? ''), 'utf8'), text);
    t.match(
      both.flatMap(({ warnings }) => warnings),
      [/set aside as/],
    );
  }
});

t.test('several engines write at once, and no fact is lost', async (t) => {
  const folder = await folderOf(t);
  const path = join(folder, 'protocol-cache.json');
  const program = fileURLToPath(new URL('protocol-cache-writer.js', import.meta.url));
  const writers = ['a', 'b', 'c'].map((name) => fork(program, [path, name, '20']));
  const ends = await Promise.all(writers.map((child) => once(child, 'exit')));
  t.strictSame(ends, [
    [0, null],
    [0, null],
    [0, null],
  ]);
  const { cache, warnings } = await load(path);
  const missing = ['a', 'b', 'c']
    .flatMap((name) => Array.from({ length: 20 }, (_, i) => `${name}${i}`))
    .filter((address) => cache.get(address) === undefined);
  t.strictSame(missing, []);
  t.strictSame(warnings, []);
  t.strictSame(await readdir(folder), ['protocol-cache.json'], 'no lock and no half-written file is left');
});

t.test('the lock of a killed engine', async (t) => {
  const path = join(await folderOf(t), 'protocol-cache.json');
  await mkdir(`${path}.lock`);
  const { cache } = await load(path);
  cache.record('x', zstd4);
  await cache.flushed();
  t.match((await load(path)).cache.get('x'), zstd4, 'it is ignored after 5 s');
});

t.test('a file that cannot be written is a warning, and the facts are written later', async (t) => {
  const folder = await folderOf(t);
  const inTheWay = join(folder, 'state');
  await writeFile(inTheWay, '');
  const path = join(inTheWay, 'protocol-cache.json');
  const { cache, warnings } = await load(path);
  cache.record('x', zstd4);
  await cache.flushed();
  t.match(warnings.at(-1), /cannot write the protocol cache .*protocol-cache\.json/);
  t.match(cache.get('x'), zstd4);
  await rm(inTheWay);
  cache.record('y', zstd4);
  await cache.flushed();
  const again = await load(path);
  t.match([again.cache.get('x'), again.cache.get('y')], [zstd4, zstd4]);
});

t.test('the cache keeps 512 facts, the latest ones', async (t) => {
  const path = join(await folderOf(t), 'protocol-cache.json');
  const { cache } = await load(path);
  for (let i = 0; i < 600; i += 1) cache.record(`host${i}`, zstd4);
  await cache.flushed();
  t.equal(cache.get('host0'), undefined);
  t.match(cache.get('host599'), zstd4);
  const { facts } = JSON.parse(await readFile(path, 'utf8')) as { facts: object };
  t.equal(Object.keys(facts).length, 512);
});
