// Code that V8 has compiled, for the daemons of one run of all tests. A new state folder has none, and to compile takes half a second of CPU for
// each daemon and its engine.
import { copyFile, link, mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { codeDirOf, type Env } from '../../daemon/base/paths.ts';

/** The folder that the runner names (test/house/runner/tests.mjs); undefined for a test that is run alone, and for the bench. */
const STORE = process.env['BMUXD_TEST_CODE'];

/** Gives a new state folder what earlier daemons have compiled. */
export async function takeCode(env: Env): Promise<void> {
  if (STORE === undefined) return;
  const names = await namesIn(STORE);
  if (names.length === 0) return;
  const folder = codeDirOf(env);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const name of names) {
    const [from, to] = [join(STORE, name), join(folder, name)];
    // A daemon replaces such a file and never writes into it. Only a file system of its own needs a copy.
    await link(from, to).catch(() => copyFile(from, to));
  }
}

/** Keeps what the daemon of this state folder has compiled, for later ones. */
export async function keepCode(env: Env): Promise<void> {
  if (STORE === undefined) return;
  const folder = codeDirOf(env);
  const known = new Set(await namesIn(STORE));
  for (const name of await namesIn(folder)) {
    if (known.has(name)) continue;
    await mkdir(STORE, { recursive: true });
    const temporary = join(STORE, `${name}.${String(process.pid)}.tmp`);
    await copyFile(join(folder, name), temporary);
    await rename(temporary, join(STORE, name));
  }
}

async function namesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names.filter((name) => name.endsWith('.bin'));
}
