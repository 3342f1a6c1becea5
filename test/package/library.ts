// The library of an installed package, used from ESM, CommonJS and TypeScript.
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { repositoryRoot, run, type Ran } from '../real/index.ts';
import type { Installed } from './packed.ts';

const USE = "openStream({ target: 'local' }).catch((error) => console.log(error.code));";
const TYPED = `import { openStream, type OpenedStream } from 'bmuxd';
import { writeServerMeta } from 'bmuxd/server-meta';
export const opened: Promise<OpenedStream> = openStream({ target: 'prod', contract: { epoch: 4 } });
export const written: unknown = writeServerMeta;
// @ts-expect-error: a target is a text
void openStream({ target: 5 });
`;

/** Each way to use it with what came out: the code of the failure where no daemon runs, and nothing from the compiler. */
export async function uses(folder: string, { prefix, env }: Installed): Promise<ReadonlyMap<string, Ran>> {
  const app = join(folder, 'app');
  await mkdir(join(app, 'node_modules/@types'), { recursive: true });
  await symlink(join(prefix, 'lib/node_modules/bmuxd'), join(app, 'node_modules/bmuxd'));
  await symlink(join(repositoryRoot(), 'node_modules/@types/node'), join(app, 'node_modules/@types/node'));
  const sources = {
    'esm.mjs': `import { openStream } from 'bmuxd'; ${USE}`,
    'common.cjs': `const { openStream } = require('bmuxd'); ${USE}`,
    'typed.mts': TYPED,
    'typed.cts': TYPED,
    'tsconfig.json':
      '{"compilerOptions": {"noEmit": true, "strict": true, "skipLibCheck": true, "module": "node16", "types": ["node"]}}',
  };
  for (const [name, text] of Object.entries(sources)) await writeFile(join(app, name), text);
  const nobody = { ...env, BMUXD_RUNTIME_DIR: join(folder, 'nobody') };
  const compiler = join(repositoryRoot(), 'node_modules/typescript/bin/tsc');
  return new Map([
    ['ESM', await run('node', [join(app, 'esm.mjs')], nobody)],
    ['CommonJS', await run('node', [join(app, 'common.cjs')], nobody)],
    ['TypeScript', await run('node', [compiler, '-p', app], env)],
  ]);
}
