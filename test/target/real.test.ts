// Compares the errors for invalid targets with those of the real bmux.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { resolveTarget } from '../../daemon/target/resolve.ts';
import { failureOf } from '../policy/failure-of.ts';
import { enclosed, runBmux } from '../policy/real-bmux.ts';
import { realBmux } from '../real/index.ts';
import { config, inputs, ownFolder } from './sample.ts';

const bmux = realBmux();

t.test('wrong targets', { skip: bmux === undefined && 'real bmux not found' }, async (t) => {
  if (bmux === undefined) return;
  const dir = await ownFolder(t);
  await mkdir(join(dir, 'config'));
  await writeFile(
    join(dir, 'config', 'bmux.toml'),
    '[connections.targets.t]\ntransport = "tls"\n[connections.targets.i]\ntransport = "iroh"\n',
  );
  const settings = config({ targets: { t: { transport: 'tls' }, i: { transport: 'iroh' } } });
  // A bad port in https:// is not compared, because epochs 3 and 4 have different texts for it.
  const references = [
    'tls://h:65536', 'tls://h:x', 'tls://', 'https://', 'iroh://', 'iroh://?auth=ssh',
    'iroh://x?compression=LZ4', 'bmux://unknown', 't', 'i',
  ]; // oxfmt-ignore
  for (const target of references) {
    const said = await runBmux(bmux, ['list-sessions'], { ...enclosed(dir), BMUX_TARGET: target });
    const ours = await failureOf(() =>
      resolveTarget(inputs({ target, config: settings, runtimeDir: join(dir, 'run') })),
    );
    t.match(said.stderr, ours.detail, target);
  }
});
