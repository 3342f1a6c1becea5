// A copy of the package in a folder of its own, whose version a test changes as an upgrade does.
import { cp, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageRoot, packageVersion } from '../../daemon/base/version.ts';
import type { WithTeardown } from '../engine/world.ts';

export interface PackageCopy {
  readonly root: string;
  /** The file that `bmuxd` is. */
  readonly program: string;
  readonly setVersion: (to: string) => Promise<void>;
}

/** Its packages and units are those of the original. */
export async function packageCopy(t: WithTeardown): Promise<PackageCopy> {
  const root = await mkdtemp(join(tmpdir(), 'bmuxd-'));
  t.teardown(() => rm(root, { recursive: true, force: true, maxRetries: 5 }));
  const dist = fileURLToPath(new URL('../..', import.meta.url));
  const keep = (path: string): boolean => !/\.(map|d\.ts)$/.test(path);
  for (const folder of ['daemon', 'client-shim'])
    await cp(join(dist, folder), join(root, 'dist', folder), { recursive: true, filter: keep });
  for (const name of ['node_modules', 'systemd']) await symlink(join(packageRoot(), name), join(root, name));
  const setVersion = async (version: string): Promise<void> => {
    const path = join(root, 'package.json');
    await writeFile(`${path}.new`, JSON.stringify({ name: 'bmuxd', type: 'module', version }));
    await rename(`${path}.new`, path);
  };
  await setVersion(packageVersion());
  return { root, program: join(root, 'dist/daemon/bin/bmuxd.cjs'), setVersion };
}
