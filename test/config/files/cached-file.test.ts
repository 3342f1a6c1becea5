// Values of small files: read again only after a change, and once for all who ask.
import { join } from 'node:path';
import t from 'tap';
import { CachedFiles } from '../../../daemon/config/files/cached-file.ts';
import { folderFor, put } from '../files.ts';

t.test('a file is read once for all who ask, and again after a change', async (t) => {
  const path = join(await folderFor(t), 'x');
  const files = new CachedFiles<number>();
  let reads = 0;
  const read = async (): Promise<number> => {
    reads += 1;
    const value = reads;
    await new Promise(setImmediate);
    if (value === 2) throw new Error('broken');
    return value;
  };
  const ask = (count: number) => Promise.all(Array.from({ length: count }, () => files.get(path, read)));
  t.strictSame(new Set(await ask(100)), new Set([1]), 'missing');
  t.strictSame(await ask(1), [1]);
  await put(path, 'a');
  await t.rejects(ask(100), /broken/);
  t.strictSame(new Set(await ask(100)), new Set([3]), 'a failure is not kept');
  files.forget();
  t.strictSame(await ask(1), [4]);
  t.equal(reads, 4);
});
