// While something large is parsed for streams that are opened: the longest pause of another stream's echo, and the longest turn of the engine.
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startBmuxd, type Bmuxd } from '../../../test/daemon/bmuxd.ts';
import { ecKeys, issue } from '../../../test/transport/tls/chains/issue.ts';
import { sleep } from '../../../daemon/base/async/sleep.ts';
import { launchEmbedded } from '../../../test/embedded/launch.ts';
import { TestClient } from '../../../test/embedded/client.ts';
import type { Bench, Goal, Measure } from '../../measure.ts';
import { SETTINGS, startFar, tlsTarget } from '../../rig/far.ts';
import { programPath, startProgram } from '../../rig/processes.ts';
import { startBulkFar } from '../bulk.ts';

/** ms of the shortest window in which echoes are timed. */
const WINDOW_MS = 500;
const TOGETHER = 20;
const CA_BYTES = 5e6;
const TARGETS = 10_000;
/** As many keys as OpenSSH's agent lists with comments of this size. */
const COMMENTS = Array.from({ length: 12 }, () => 'c'.repeat(20_000));

const TURN: Goal = { text: '<= 20 ms', met: ({ ours }) => ours.median <= 20 };

interface Scene {
  readonly what: string;
  readonly config: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly targets: readonly string[];
  /** Changes what is parsed, so that it is read anew. */
  readonly change: (daemon: Bmuxd, turn: number) => Promise<void>;
}

/** What was the longest in a window, ms: an echo, and the CPU time of a turn of the engine. */
interface Longest {
  readonly echo: number;
  readonly turn: number;
  readonly windowMs: number;
}

/** What the programs of a scene write: the ms of each echo, and of each long turn of an event loop. */
interface Files {
  readonly echoes: string;
  readonly turns: string;
}

/** From now until `work` is over, and for `WINDOW_MS` at least. */
async function longest({ echoes, turns }: Files, work: () => Promise<unknown>): Promise<Longest> {
  await Promise.all([writeFile(echoes, ''), writeFile(turns, '')]);
  const since = performance.now();
  await Promise.all([work(), sleep(WINDOW_MS)]);
  const windowMs = performance.now() - since;
  const most = async (file: string, line: RegExp): Promise<number> =>
    Math.max(0, ...[...(await readFile(file, 'utf8')).matchAll(line)].map(([, ms]) => Number(ms)));
  return {
    echo: await most(echoes, /^(\S+)$/gm),
    turn: await most(turns, /^\S*engine\S* (\S+)$/gm),
    windowMs,
  };
}

async function open(daemon: Bmuxd, target: string): Promise<void> {
  const { stream, info } = await daemon.open({ target });
  await new TestClient(stream, { epoch: info.epoch }).close();
}

async function beside(bench: Bench, scene: Scene): Promise<void> {
  const far = bench.own('bulk server', await startBulkFar());
  const files: Files = { echoes: join(far.folder, 'echoes'), turns: join(far.folder, 'turns') };
  const daemon = bench.own(
    'daemon',
    await startBmuxd({
      usualLog: true,
      config: scene.config,
      settings: `warmth.spares = 0\n${SETTINGS}`,
      env: {
        ...scene.env,
        BMUX_RUNTIME_DIR: far.folder,
        NODE_OPTIONS: `--import ${programPath('turns')}`,
        TURNS_FILE: files.turns,
      },
    }),
  );
  const { NODE_OPTIONS: _, ...env } = daemon.env;
  bench.own('echoes', await startProgram('echoes', { env, target: 'local', file: files.echoes }));
  const [ours, alone]: [Longest[], Longest[]] = [[], []];
  for (let turn = 0; turn <= bench.count(8, 2); turn += 1) {
    const opened = await longest(files, async () => {
      await scene.change(daemon, turn);
      await Promise.all(scene.targets.map((target) => open(daemon, target)));
    });
    // What is left of the work is not of the other window.
    await sleep(WINDOW_MS);
    const idle = await longest(files, () => sleep(opened.windowMs));
    if (turn > 0) ours.push(opened);
    if (turn > 0) alone.push(idle);
  }
  for (const [what, of] of [
    ['longest echo of another stream', 'echo'],
    ['CPU time of the longest turn of the engine', 'turn'],
  ] as const)
    bench.figure({
      what: `${what}, ${scene.what}`,
      unit: 'ms',
      ours: { name: 'while streams are opened', values: ours.map((one) => one[of]) },
      peer: { name: 'nothing is opened', values: alone.map((one) => one[of]) },
      ...(of === 'turn' ? { goal: TURN } : {}),
    });
}

/** A bundle in which the gateway's own certificate is the last one. */
function bundleOf(own: string): string {
  const keys = ecKeys();
  const all: string[] = [];
  for (let length = 0; length < CA_BYTES; length += all.at(-1)?.length ?? 0)
    all.push(issue({ subject: `Authority ${String(all.length)}`, ca: true, keys }).pem);
  return all.join('') + own;
}

async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

const SLOW = 'connect_timeout_ms = 60000\n';
const names = (count: number): string[] => Array.from({ length: count }, (_, at) => `t${String(at)}`);

export const parsing: Measure = {
  name: 'parsing',
  about: "longest pause of another stream's echo while large files and lists are parsed",
  run: async (bench) => {
    const folder = await mkdtemp(join(tmpdir(), 'bmuxd-parsing-'));
    bench.own('folder', { stop: () => rm(folder, { recursive: true, force: true }) });
    const gateway = bench.own(
      'gateway',
      await launchEmbedded({
        socketPath: join(folder, 'server.sock'),
        server: { epoch: 4, connections: 4096 },
        tls: { compression: 'zstd' },
      }),
    );
    const { port = 0, certPem = '' } = gateway.tls ?? {};
    const [caFile, ownFile] = [join(folder, 'bundle.pem'), join(folder, 'own.pem')];
    await writeFile(ownFile, certPem);
    await bench.part('bundle of CAs', async () => {
      const bundle = bundleOf(certPem);
      await replace(caFile, bundle);
      const change = (_: Bmuxd, turn: number): Promise<void> =>
        replace(caFile, `# ${String(turn)}\n${bundle}`);
      for (const count of [1, TOGETHER])
        await bench.part(`${String(count)} opens`, () =>
          beside(bench, {
            what: `ca_file of 5 MB, ${String(count)} at once`,
            config: names(count)
              .map((name) => tlsTarget(name, port, caFile) + SLOW)
              .join(''),
            targets: names(count),
            change,
          }),
        );
    });
    await bench.part('targets', async () => {
      const config = names(TARGETS)
        .map((name) => tlsTarget(name, port, ownFile) + SLOW)
        .join('');
      await beside(bench, {
        what: `bmux.toml with 10,000 targets, ${String(TOGETHER)} at once`,
        config,
        targets: names(TOGETHER),
        change: (daemon, turn) => daemon.configure('bmux.toml', `# ${String(turn)}\n${config}`),
      });
    });
    await bench.part('agent', async () => {
      const host = bench.own(
        'host',
        await startFar({ way: 'iroh with SSH auth', embedded: true, comments: COMMENTS }),
      );
      await beside(bench, {
        what: `agent with comments of 20 KB, ${String(TOGETHER)} at once`,
        config: host.config,
        env: host.env,
        targets: Array.from({ length: TOGETHER }, () => host.target),
        change: () => Promise.resolve(),
      });
    });
  },
};
