// Tests environments in which a part of bmuxd cannot work: the failure has a name and a remedy, and the other parts work.
import { readdir, rm, writeFile } from 'node:fs/promises';
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import * as zlib from 'node:zlib';
import t from 'tap';
import { makeSandbox, startBmuxd } from '../daemon/bmuxd.ts';
import { waitFor } from '../real/child.ts';

t.test('NODE_OPTIONS that name a file which is gone are left out, and the status says so', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const preload = join(sandbox.folder, 'preload.cjs');
  await writeFile(preload, '');
  const bmuxd = await startBmuxd({
    sandbox: { ...sandbox, env: { ...sandbox.env, NODE_OPTIONS: `--require ${preload}` } },
  });
  t.teardown(() => bmuxd.stop());
  const before = await bmuxd.enginePid();
  t.same((await bmuxd.status()).problems, []);
  await rm(preload);
  process.kill(before, 'SIGKILL');
  await waitFor('the next engine', async () => {
    const { engines } = await bmuxd.status();
    return engines.some(({ pid, state }) => pid !== before && state === 'serving');
  });
  const { problems } = await bmuxd.status();
  t.match(problems, [
    { where: 'NODE_OPTIONS', failure: { code: 'node_options_unusable', detail: /preload\.cjs/ } },
  ]);
});

/** Whether this user may mount in a namespace of its own. */
const mayMount = spawnSync('unshare', ['-m', 'true']).status === 0;
const skip = !mayMount && 'needs unshare(1) and the right to mount';

/** Runs a module that imports both packages where the file `hidden` is empty, and returns its output. */
function without(hidden: string, program: string): string {
  const script = `mount --bind /dev/null "$1" && exec "$2" --input-type=module -e "$3"`;
  const ran = spawnSync('unshare', ['-m', 'sh', '-c', script, 'sh', hidden, process.execPath, program], {
    encoding: 'utf8',
  });
  return ran.stdout + ran.stderr;
}

/** Node's own zstd takes the place of the package. */
const hasNodeZstd = 'zstdCompressSync' in zlib;

const built = (path: string): string => fileURLToPath(new URL(`../../daemon/${path}`, import.meta.url));
const PROGRAM = `
  const { zstdProblem, encodeBlock } = await import(${JSON.stringify(built('compression/zstd.js'))});
  const { irohProblem, IrohEndpoint } = await import(${JSON.stringify(built('transport/iroh/endpoint.js'))});
  let error;
  try { encodeBlock(Buffer.from('x')); (await IrohEndpoint.bind({ relays: ['x'] })); } catch (caught) { error = caught; }
  console.log(JSON.stringify({ zstd: zstdProblem?.data, iroh: irohProblem?.data, thrown: error?.code }));
`;

t.test('a native package that does not load is named, and the other one works', { skip }, async (t) => {
  const require = createRequire(import.meta.url);
  const zstd = join(dirname(require.resolve('zstd-napi/binding.js')), 'build/Release/binding.node');
  t.match(JSON.parse(without(zstd, PROGRAM)), {
    ...(hasNodeZstd
      ? { zstd: undefined, thrown: 'iroh_bind_failed' }
      : { zstd: { code: 'zstd_unavailable', detail: /binding\.node/ }, thrown: 'zstd_unavailable' }),
    iroh: undefined,
  });
  const folder = dirname(require.resolve(`@number0/iroh-linux-${process.arch}-gnu/package.json`));
  const iroh = (await readdir(folder)).find((name) => name.endsWith('.node')) ?? '';
  t.match(JSON.parse(without(join(folder, iroh), PROGRAM)), {
    zstd: undefined,
    iroh: { code: 'iroh_unavailable', detail: /iroh\..*\.node/ },
    thrown: 'iroh_unavailable',
  });
});
