// Compares the metadata file, the build id and the texts of the policies with the real bmux.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Failure } from '../../daemon/base/failure.ts';
import { encodeServerMeta } from '../../daemon/policy/meta-format.ts';
import { applyPolicy, type PolicyInputs } from '../../daemon/policy/policy.ts';
import { buildIdOf, readServerMeta, writeServerMeta } from '../../daemon/policy/server-meta.ts';
import { enclosed, runBmux } from './real-bmux.ts';
import { realBmux } from '../real/index.ts';

const bmux = realBmux();

t.test('the file of a real server', { skip: bmux === undefined && 'real bmux not found' }, async (t) => {
  if (bmux === undefined) return;
  const dir = await mkdtemp(join(tmpdir(), 'bmuxd-policy-'));
  const env = enclosed(dir);
  t.teardown(async () => {
    await runBmux(bmux, ['server', 'stop'], env);
    await rm(dir, { recursive: true, force: true });
  });
  const started = await runBmux(bmux, ['server', 'start', '--daemon'], env);
  t.equal(started.code, 0, started.stderr);
  const serverMeta = join(dir, 'run', 'server-meta.json');
  const meta = await readServerMeta({ serverMeta });
  t.ok(meta);
  if (meta === undefined) return;
  t.equal(encodeServerMeta(meta), await readFile(serverMeta, 'utf8'));
  t.equal(await buildIdOf(meta.executablePath), meta.buildId);
});

t.test(
  'its policies read our file and say what we say',
  { skip: bmux === undefined && 'real bmux not found' },
  async (t) => {
    if (bmux === undefined) return;
    const dir = await mkdtemp(join(tmpdir(), 'bmuxd-policy-'));
    t.teardown(() => rm(dir, { recursive: true, force: true }));
    const manifest = join(dir, 'slots.toml');
    await mkdir(join(dir, 'config'));
    await writeFile(join(dir, 'config', 'bmux.toml'), '[behavior]\nstale_build_action = "error"\n');
    await writeFile(manifest, `[slots.dev]\nbinary = "${bmux}"\ninherit_base = false\n`);
    const rows: [name: string, serverSlot: string | undefined, clientSlot: string | undefined][] = [
      ['another slot', 'st"able', 'dev'],
      ['none recorded', undefined, 'dev'],
      ['same slot, another build', 'dev', 'dev'],
      ['another build', 'stable', undefined],
    ];
    for (const [name, slotName, slot] of rows) {
      const runtimeDir = join(dir, 'run');
      const server = {
        runtimeDir,
        pid: 2 ** 31 - 1,
        version: '0.0.1-alpha.4',
        executablePath: process.execPath,
      };
      const meta = await writeServerMeta({ ...server, slotName });
      const said = await runBmux(bmux, ['list-sessions'], {
        ...enclosed(dir),
        BMUX_SLOTS_MANIFEST: manifest,
        ...(slot === undefined ? {} : { BMUX_SLOT_NAME: slot }),
      });
      const ours = refusal({ slot, meta, staleBuildAction: 'error', buildId: await buildIdOf(bmux) });
      t.match(said.stderr, ours, name);
      await rm(runtimeDir, { recursive: true });
    }
  },
);

function refusal(inputs: PolicyInputs): string {
  try {
    return `not refused: ${applyPolicy(inputs).join('\n')}`;
  } catch (error) {
    if (error instanceof Failure) return error.data.detail;
    throw error;
  }
}
