// Tests what a command says that was started just before an install removed its package.
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { makeSandbox } from '../daemon/bmuxd.ts';
import { packageCopy } from '../daemon/package-copy.ts';
import { run } from '../real/index.ts';

t.test('a package that is away, or half written, is told with a code', async (t) => {
  const { root, program } = await packageCopy(t);
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const file = join(root, 'package.json');
  const said = async (code: string, ...args: readonly string[]): Promise<void> => {
    const { status, stdout, stderr } = await run(process.execPath, [program, ...args], sandbox.env);
    t.strictSame([status, stdout], [1, ''], args.join(' '));
    t.match(stderr, file);
    t.match(stderr, new RegExp(`^the package of bmuxd is [^]*\\[${code}\\]\n$`));
  };
  await rm(file);
  for (const args of [['restart'], ['status'], ['run'], ['targets', '--json']])
    await said('package_away', ...args);
  await writeFile(file, '{"name": "bm');
  await said('package_being_written', 'restart');
});
