// Loads a bundle with the code that V8 has compiled of it in an earlier run. It stands in the files that are run, before the bundles
// (test/house/bundle.mjs): compiling a bundle takes longer than most commands run.
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { constants, Script } from 'node:vm';
import { makeFolderSync } from '../base/files/make-folder.ts';
import { codeDirOf, isPrivateFolder, type Env } from '../base/paths.ts';

/** ms after which the code of a process that stays is written: by then it has compiled what its start needs. */
const SETTLED_MS = 3000;
/** Files in the folder: a few bundles, for a few versions of Node and of bmuxd. The oldest go. */
const MAX_FILES = 24;
const HEAD = '(function (exports, require, module, __filename, __dirname) {';
const TAIL = '\n})';

type Require = (id: string) => unknown;
type Wrapper = (
  exports: unknown,
  require: Require,
  module: { exports: unknown },
  filename: string,
  dirname: string,
) => void;

/**
 * Does what `from(path)` does. The bundle gets a `require` that loads bundles of its folder in the same way. `isLong`: the process stays
 * until it is stopped. Only such a process makes the folder of compiled code.
 */
export function loadBundle(path: string, from: Require, isLong: boolean): unknown {
  const { env } = process;
  // With one of these, V8 or Node has to see each function compiled, or a user wants no compiled code.
  if (env['NODE_V8_COVERAGE'] || env['NODE_DISABLE_COMPILE_CACHE'] || process.sourceMapsEnabled)
    return from(path);
  const codeDir = folderOf(env);
  if (codeDir === undefined) return from(path);
  const source = readFileSync(path, 'utf8');
  const file = join(codeDir, nameFor(path, source));
  const cachedData = compiled(codeDir, file);
  const script = new Script(HEAD + source + TAIL, {
    filename: path,
    columnOffset: -HEAD.length,
    ...(cachedData === undefined ? {} : { cachedData }),
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  if (cachedData === undefined || script.cachedDataRejected === true) keepLater(script, file, isLong);
  const module: { exports: unknown } = { exports: {} };
  const folder = dirname(path);
  const require = Object.assign((id: string): unknown => {
    if (!/^\.\/[^/]+\.cjs$/.test(id)) return from(id);
    return loadBundle(join(folder, id), from, isLong);
  }, from);
  (script.runInThisContext() as Wrapper)(module.exports, require, module, path, folder);
  return module.exports;
}

/** Undefined where the environment names no folder: the bundle says so better. */
function folderOf(env: Env): string | undefined {
  try {
    return codeDirOf(env);
  } catch {
    return undefined;
  }
}

/** Names what the code depends on. The build ends a bundle with its hash. An engine uses other parts of its bundle than control. */
function nameFor(path: string, source: string): string {
  const hash = source.slice(-17).trim();
  const program = basename(process.argv[1] ?? '', '.cjs');
  const node = `${process.version}-${process.arch}-${flags()}`;
  return `${basename(path, '.cjs')}-${program}-${hash}-${node}.bin`;
}

/** Stands for the flags of this process: V8 refuses code that was compiled with others. A service has some that a person leaves out. */
function flags(): string {
  let sum = 0;
  for (const character of [...process.execArgv, process.env['NODE_OPTIONS']].join(' '))
    sum = (Math.imul(sum, 31) + (character.codePointAt(0) ?? 0)) >>> 0;
  return sum.toString(36);
}

/**
 * The code in `file`. V8 itself refuses code of another V8 or with other flags, and crashes with code in which a byte has changed. So the
 * file holds the code twice: no checksum is compared as fast.
 */
function compiled(folder: string, file: string): Buffer | undefined {
  if (!isPrivateFolder(folder)) return undefined;
  try {
    const twice = readFileSync(file);
    const code = twice.subarray(0, twice.length / 2);
    return twice.length > 0 && code.equals(twice.subarray(twice.length / 2)) ? code : undefined;
  } catch {
    return undefined;
  }
}

/** Writes the code when this process has compiled what it uses. What cannot be written is compiled again by the next process. */
function keepLater(script: Script, file: string, isLong: boolean): void {
  if (isLong) {
    setTimeout(() => {
      keep(script, file);
    }, SETTLED_MS).unref();
    return;
  }
  process.once('exit', () => {
    // A process that has not made the folder itself writes no file that nobody asked for.
    if (isPrivateFolder(dirname(file))) keep(script, file);
  });
}

function keep(script: Script, file: string): void {
  const temporary = `${file}.${String(process.pid)}.tmp`;
  try {
    makeFolderSync(dirname(file));
    if (!isPrivateFolder(dirname(file))) return;
    removeOldest(dirname(file));
    const fd = openSync(temporary, 'wx', 0o600);
    try {
      const code = script.createCachedData();
      for (let copy = 0; copy < 2; copy += 1) writeFileSync(fd, code);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
  } catch {
    try {
      unlinkSync(temporary);
    } catch {
      // There is none.
    }
  }
}

function removeOldest(folder: string): void {
  const files = readdirSync(folder).map((name) => join(folder, name));
  const byAge = files.map((file) => ({ file, age: statSync(file).mtimeMs })).sort((a, b) => b.age - a.age);
  for (const { file } of byAge.slice(MAX_FILES - 1)) unlinkSync(file);
}
