// Tests environments in which a part of bmuxd cannot work: the failure has a name and a remedy, and the other parts work.
import { readdir, rm, writeFile } from 'node:fs/promises';
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import * as zlib from 'node:zlib';
import t, { type Test } from 'tap';
import { openStream, type OpenedStream } from '../../client-shim/index.ts';
import type { Status } from '../../daemon/api/answers.ts';
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

/** Runs `commands` of the shell where nothing of the built package and its packages may be mapped as code. `$1 $2` is `node bmuxd.cjs`. */
const NOEXEC = `
  for folder in "$3" "$4"; do mount --bind "$folder" "$folder" && mount -o remount,bind,noexec "$folder" || exit 9; done
`;

t.test(
  'a package on a file system without programs is named, and local targets work',
  { skip },
  async (t) => {
    const sandbox = await makeSandbox();
    const server = await launched(t, {
      server: { epoch: 4 },
      socketPath: join(sandbox.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    });
    t.teardown(() => sandbox.remove());
    const modules = join(dirname(createRequire(import.meta.url).resolve('zstd-napi/package.json')), '..');
    const commands = '"$1" "$2" start; "$1" "$2" status --json; "$1" "$2" ping local; "$1" "$2" stop';
    const script = [
      '-m',
      'sh',
      '-c',
      `${NOEXEC}${commands}`,
      'sh',
      process.execPath,
      BMUXD,
      modules,
      built('..'),
    ];
    const { stdout, stderr } = await run('unshare', script, sandbox.env);
    t.match(stdout, /^bmuxd has started: degraded, /, stderr);
    t.match(stdout, /^round trip 4 to local: .*\n[^]*bmuxd has stopped\n$/m);
    const status: unknown = JSON.parse(/^\{[^]*^\}|^\{.*\}$/m.exec(stdout)?.[0] ?? '');
    const codes = ['peers_unchecked', ...(hasNodeZstd ? [] : ['zstd_unavailable']), 'iroh_unavailable'];
    t.match(status, { problems: codes.map((code) => ({ failure: { code, remedy: /noexec/ } })) });
    t.ok(server.pid);
  },
);

const hasPrlimit = spawnSync('prlimit', ['--version']).status === 0;

t.test(
  '64 open files and no more are named, and the engine stays',
  { skip: !hasPrlimit && 'no prlimit here' },
  async (t) => {
    const sandbox = await makeSandbox();
    t.teardown(() => sandbox.remove());
    const { tls } = await launched(t, {
      server: { epoch: 4 },
      socketPath: join(sandbox.folder, 'server.sock'),
      tls: { compression: 'none' },
    });
    const { host = '', port = 0, certPem = '' } = tls ?? {};
    const ca_file = join(sandbox.folder, 'ca.pem');
    await writeFile(ca_file, certPem);
    await sandbox.configure(
      'bmux.toml',
      targetToml('far', { transport: 'tls', host, port, server_name: 'localhost', ca_file }),
    );
    const bmuxd = (...args: string[]): ReturnType<typeof run> =>
      run(process.execPath, [BMUXD, ...args], sandbox.env);
    const started = await run('prlimit', ['--nofile=64:64', process.execPath, BMUXD, 'start'], sandbox.env);
    t.teardown(() => bmuxd('stop'));
    t.match(started.stdout, /^bmuxd has started: degraded, /, started.stderr);
    const held: OpenedStream[] = [];
    const open = async (): Promise<void> => {
      held.push(await openStream({ target: 'far', env: sandbox.env }));
    };
    const more = async (): Promise<void> => {
      while (held.length < 64) await open();
    };
    const exhausted = { code: 'files_exhausted', class: 'full', remedy: /ulimit -n/ };
    const failure = await more().catch((error: unknown) => error);
    t.match(failure, { data: exhausted });
    t.ok(held.length >= 8, `${held.length} streams`);
    const status = async (): Promise<Status> =>
      JSON.parse((await bmuxd('status', '--json')).stdout) as Status;
    await waitFor('the engine to have looked at the network', async () => {
      const { engines } = await status();
      return engines.some(({ state, sinceMs }) => state === 'serving' && Date.now() - sinceMs > 5000);
    });
    t.match(await status(), {
      problems: [{ where: 'open files', failure: { code: 'files_few', detail: /64 files/ } }],
      engines: [{ streams: held.length }],
      upstreams: [{ target: 'far', failingSinceMs: undefined }],
    });
    for (const { stream } of held.splice(0)) stream.destroy();
    await waitFor('a stream again', () =>
      open().then(
        () => true,
        () => false,
      ),
    );
    for (const { stream } of held) stream.destroy();
  },
);
