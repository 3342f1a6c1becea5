// Tests environments in which a part of bmuxd cannot work: the failure has a name and a remedy, and the other parts work.
import { readdir, rm, writeFile } from 'node:fs/promises';
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import * as zlib from 'node:zlib';
import t, { type Test } from 'tap';
import { BMUXD, makeSandbox, startBmuxd } from '../daemon/bmuxd.ts';
import { launchEmbedded, type Embedded } from '../embedded/launch.ts';
import type { EmbeddedOptions } from '../embedded/options.ts';
import { waitFor } from '../real/child.ts';
import { run } from '../real/server.ts';
import { targetToml } from '../target-sockets/ways.ts';

/** Preloaded, it takes away the package zstd-napi and the zstd of Node. */
const NO_ZSTD = `
  const { Module } = require('node:module');
  const load = Module._load;
  Module._load = (name, ...rest) => {
    if (name.startsWith('zstd-napi')) throw new Error('the package is not there');
    return load(name, ...rest);
  };
  delete require('node:zlib').zstdCompressSync;
`;

async function launched(t: Test, options: EmbeddedOptions): Promise<Embedded> {
  const embedded = await launchEmbedded(options);
  t.teardown(() => embedded.stop());
  return embedded;
}

const WITHOUT_PROC = 'while [ -e /proc/uptime ]; do umount -l /proc || exit 1; done';
const mayUnmount = spawnSync('unshare', ['-m', 'sh', '-c', WITHOUT_PROC]).status === 0;

t.test('a chroot without /proc', { skip: !mayUnmount && 'needs unshare(1) and its rights' }, async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const commands = `node=$1 bmuxd=$2; "$node" "$bmuxd" start; "$node" "$bmuxd" status --wait 60; "$node" "$bmuxd" stop`;
  const args = ['-m', 'sh', '-c', `${WITHOUT_PROC}; ${commands}`, 'sh', process.execPath, BMUXD];
  const ran = await run('unshare', args, sandbox.env);
  t.match(
    ran.stdout,
    /^bmuxd has started: ready, .*\nbmuxd [^ ]+: ready [^]*serving[^]*\nbmuxd has stopped\n$/,
  );
});

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

t.test(
  'without any zstd a gateway that compresses is refused at its answer, another one is served',
  async (t) => {
    const sandbox = await makeSandbox();
    t.teardown(() => sandbox.remove());
    const preload = join(sandbox.folder, 'no-zstd.cjs');
    await writeFile(preload, NO_ZSTD);
    let config = '';
    const servers: Partial<Record<'zstd' | 'none', Embedded>> = {};
    for (const compression of ['zstd', 'none'] as const) {
      // No limit of the server ends an attempt.
      const embedded = await launched(t, {
        server: { epoch: 4, handshakeTimeoutMs: 600_000 },
        socketPath: join(sandbox.folder, `${compression}.sock`),
        tls: { compression },
      });
      const { tls } = embedded;
      servers[compression] = embedded;
      const ca_file = join(sandbox.folder, `${compression}.pem`);
      await writeFile(ca_file, tls?.certPem ?? '');
      const { host = '', port = 0 } = tls ?? {};
      const server_name = 'localhost';
      const connect_timeout_ms = 60_000;
      config += targetToml(compression, {
        transport: 'tls',
        host,
        port,
        server_name,
        ca_file,
        connect_timeout_ms,
      });
    }
    await sandbox.configure('bmux.toml', config);
    const env = { ...sandbox.env, NODE_OPTIONS: `--require ${preload}` };
    const bmuxd = await startBmuxd({ sandbox: { ...sandbox, env } });
    t.teardown(() => bmuxd.stop());
    t.match(await bmuxd.bmuxd(['ping', 'none']), { status: 0 });
    const code = 'zstd_unavailable';
    t.match(await bmuxd.bmuxd(['ping', 'zstd']), { status: 1, stderr: /\[zstd_unavailable\]/ });
    t.match(
      (await bmuxd.upstreams()).find(({ target }) => target === 'zstd'),
      { lastError: { code } },
    );
    // Hellos without compression hold connections until the handshake limit: two, or one where the answer came first. Later requests send none.
    for (const _ of [1, 2]) {
      t.match(await bmuxd.bmuxd(['ping', 'zstd']), { stderr: /\[zstd_unavailable\]/ });
      await waitFor('the connections', async () => ((await servers.zstd?.status())?.connections ?? 3) <= 2);
    }
    const { status, stdout } = await bmuxd.bmuxd(['doctor', 'zstd', '--json']);
    t.equal(status, 1);
    const { rows } = JSON.parse(stdout) as { rows: readonly object[] };
    t.match(
      rows.filter((row) => 'failure' in row && 'area' in row && row.area === 'target zstd'),
      [{ what: 'hello', failure: { code } }],
      'the doctor finds it at the target',
    );
  },
);

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
  const { zstdProblem, encodeBlock, BlockDecoder } = await import(${JSON.stringify(built('compression/zstd.js'))});
  const { irohProblem, IrohEndpoint } = await import(${JSON.stringify(built('transport/iroh/endpoint.js'))});
  let error;
  try { new BlockDecoder({ compressed: encodeBlock(Buffer.from('x')).subarray(8), uncompressedLength: 1 }).next(); (await IrohEndpoint.bind({ relays: ['x'] })); } catch (caught) { error = caught; }
  console.log(JSON.stringify({ zstd: zstdProblem?.data, iroh: irohProblem?.data, thrown: error?.code }));
`;

t.test('a native package that does not load is named, and the other one works', { skip }, async (t) => {
  const require = createRequire(import.meta.url);
  const zstd = join(dirname(require.resolve('zstd-napi/binding.js')), 'build/Release/binding.node');
  t.match(JSON.parse(without(zstd, PROGRAM)), {
    ...(hasNodeZstd
      ? { zstd: undefined, thrown: 'iroh_relay_invalid' }
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
