// The links of `bmuxd install --stable-node`: the service names them, and each install lets them lead to the Node and the bmuxd of that time.
import { readlink, rename, rm, symlink } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { makeFolder } from '../../../base/files/make-folder.ts';
import { homeOf, type Env } from '../../../base/paths.ts';
import { programPath } from '../../../base/version.ts';
import { changeFile } from './change-file.ts';
import { lastingPath } from './lasting-path.ts';

export interface StableLinks {
  readonly node: string;
  readonly program: string;
  /** Whether one has been made, or leads elsewhere than before. */
  readonly changed: boolean;
}

/** Makes the links that are missing or lead elsewhere, and shows them. */
export async function makeStableLinks(
  env: Env,
  isDry: boolean,
  out: (text: string) => void,
): Promise<StableLinks> {
  const { folder, node, program } = linksOf(env);
  let changed = false;
  for (const [link, leads] of [
    [node, process.execPath],
    [program, programPath()],
  ] as const) {
    const { path, why } = lastingPath(leads);
    const renew = why === undefined ? '' : ` (${why}; install again then)`;
    if ((await readlink(link).catch(() => undefined)) === path) {
      out(`unchanged link ${link} -> ${path}${renew}\n`);
      continue;
    }
    changed = true;
    out(`link ${link} -> ${path}${renew}\n`);
    if (isDry) continue;
    await changeFile(link, async () => {
      await makeFolder(folder);
      // A service that starts meanwhile finds the former link or this one.
      const made = `${link}.${String(process.pid)}.tmp`;
      await rm(made, { force: true });
      await symlink(path, made);
      await rename(made, link);
    });
  }
  return { node, program, changed };
}

/** Removes the links that are there, and shows them. */
export async function removeStableLinks(
  env: Env,
  isDry: boolean,
  out: (text: string) => void,
): Promise<void> {
  const { node, program } = linksOf(env);
  for (const link of [node, program]) {
    if ((await readlink(link).catch(() => undefined)) === undefined) continue;
    out(`remove ${link}\n`);
    if (!isDry) await changeFile(link, () => rm(link, { force: true }));
  }
}

function linksOf(env: Env): { readonly folder: string; readonly node: string; readonly program: string } {
  const named = env['XDG_DATA_HOME'];
  const data = named !== undefined && isAbsolute(named) ? named : join(homeOf(env), '.local', 'share');
  const folder = join(data, 'bmuxd');
  return { folder, node: join(folder, 'node'), program: join(folder, 'bmuxd.cjs') };
}
