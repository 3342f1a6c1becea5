// Slots: named installs of bmux, declared in a manifest (docs/bmux-protocol.md, "Slots"). Read here, never written.
import { basename, dirname, resolve } from 'node:path';
import { Failure } from '../../base/failure.ts';
import { appended, type BmuxPaths, type Env } from '../../base/paths.ts';
import { quoted } from '../../base/quote.ts';
import { fail } from '../../errors/fail.ts';
import { expandSlotPath, type Variables } from './expand.ts';
import { readSmallFile, type Marks, type ReadFile } from '../files/file.ts';
import { checked, misfitKey, ManifestSchema, type ManifestTable } from './schema.ts';
import { lineOf, parseToml } from '../files/toml.ts';

/** One declared slot with resolved folders. These folders do not change the paths of a client (docs/bmux-protocol.md, "Slots"). */
export interface Slot {
  readonly name: string;
  readonly binary: string;
  readonly inheritBase: boolean;
  readonly configDir: string;
  readonly runtimeDir: string;
  readonly dataDir: string;
  readonly stateDir: string;
  readonly logDir: string;
}

/** Maximum number of files of one manifest, including all files that it extends to. */
const MAX_MANIFESTS = 64;
const RESERVED = ['default', 'current', 'all'];

type Spec = NonNullable<ManifestTable['slots']>[string];

interface ManifestFile {
  readonly file: string;
  readonly text: string;
  readonly table: ManifestTable;
}

/** Why `name` cannot be a slot's name, or undefined. */
export function slotNameProblem(name: string): string | undefined {
  if (!/^[A-Za-z0-9._-]+$/u.test(name))
    return `invalid slot name ${quoted(name)}: must match [A-Za-z0-9._-]+`;
  return RESERVED.includes(name) ? `invalid slot name ${quoted(name)}: is reserved` : undefined;
}

/** Path of the manifest. `BMUX_SLOTS_MANIFEST=-` means standard input in bmux; a daemon has none and finds no such file. */
export function manifestFile(env: Env, paths: BmuxPaths, cwd = ''): string {
  const named = env['BMUX_SLOTS_MANIFEST'];
  return named === undefined ? appended(paths.configRoot, 'slots.toml') : appended(cwd, named);
}

/** Parses one file of a manifest. Fails with `slots_invalid`. */
export function parseManifest(file: string, bytes: Uint8Array): ManifestFile {
  const parsed = parseToml(bytes);
  if ('why' in parsed)
    throw fail('slots_invalid', { file, line: parsed.line, key: 'not TOML', why: parsed.why });
  const result = checked(ManifestSchema, parsed.table);
  if ('value' in result) return { file, text: parsed.text, table: result.value };
  const line = lineOf(parsed.text, result.path);
  throw fail('slots_invalid', { file, line, key: misfitKey(result), why: result.why });
}

/** Reads the manifest and all files that it extends to, lowest first; empty when there is no manifest. */
async function readFiles(
  first: string,
  variables: Variables,
  marks: Marks,
  read: ReadFile = readSmallFile,
): Promise<ManifestFile[]> {
  const readOne = async (file: string): Promise<ManifestFile | undefined> => {
    const bytes = await read(file, marks);
    return bytes === undefined ? undefined : parseManifest(file, bytes);
  };
  const primary = await readOne(first);
  if (primary === undefined) return [];
  const files = [primary];
  const seen = new Set([resolve(first)]);
  const waiting = [primary];
  // The same order as in bmux: first all files that one file names, then those that the last of them names, and so on.
  for (let from = waiting.pop(); from !== undefined; from = waiting.pop()) {
    for (const written of from.table.extend ?? []) {
      const { file } = from;
      const expanded = expandSlotPath(written, variables, (variable) => {
        throw fail('slot_variable_unset', { variable, field: 'extend', slot: '"<top-level>"', file });
      });
      const path = appended(dirname(file), expanded);
      if (seen.has(resolve(path))) continue;
      if (seen.size >= MAX_MANIFESTS) {
        const why = `extends to more than ${String(MAX_MANIFESTS)} files`;
        throw fail('slots_invalid', { file, line: lineOf(from.text, ['extend']), key: 'extend', why });
      }
      seen.add(resolve(path));
      const next = await readOne(path);
      if (next === undefined) continue;
      files.push(next);
      waiting.push(next);
    }
  }
  return files;
}

function slotOf(name: string, spec: Spec, file: string, variables: Variables, paths: BmuxPaths): Slot {
  const dir = (field: string, written: string | undefined, fallback: string): string =>
    written === undefined
      ? fallback
      : expandSlotPath(written, variables, (variable) => {
          throw fail('slot_variable_unset', { variable, field, slot: quoted(name), file });
        });
  const stateDir = dir('state_dir', spec.state_dir, appended(paths.stateRoot, 'slots', name));
  return {
    name,
    binary: dir('binary', spec.binary, ''),
    inheritBase: spec.inherit_base ?? true,
    configDir: dir('config_dir', spec.config_dir, appended(paths.configRoot, 'slots', name)),
    runtimeDir: dir('runtime_dir', spec.runtime_dir, appended(paths.runtimeRoot, 'slots', name)),
    dataDir: dir('data_dir', spec.data_dir, appended(paths.slotsRoot, name, 'data')),
    stateDir,
    logDir: dir('log_dir', spec.log_dir, appended(stateDir, 'logs')),
  };
}

/**
 * Returns the slots of the manifest files, sorted by name. Fails with `slots_invalid`, `slot_variable_unset` or `slot_dirs_shared`. As in
 * bmux, one invalid slot makes the whole manifest invalid.
 */
export function slotsOf(
  files: readonly ManifestFile[],
  variables: Variables,
  paths: BmuxPaths,
): ReadonlyMap<string, Slot> {
  const specs = new Map<string, { spec: Spec; from: ManifestFile }>();
  for (const from of files) {
    for (const [name, spec] of Object.entries(from.table.slots ?? {})) specs.set(name, { spec, from });
  }
  const slots = new Map<string, Slot>();
  const byRuntimeDir = new Map<string, string>();
  for (const name of [...specs.keys()].sort()) {
    const found = specs.get(name);
    if (found === undefined) continue;
    const { file, text } = found.from;
    const why = slotNameProblem(name);
    if (why !== undefined) {
      throw fail('slots_invalid', {
        file,
        line: lineOf(text, ['slots', name]),
        key: misfitKey({ path: ['slots', name], why }),
        why,
      });
    }
    const slot = slotOf(name, found.spec, file, variables, paths);
    const other = byRuntimeDir.get(slot.runtimeDir);
    if (other !== undefined) {
      throw fail('slot_dirs_shared', {
        first: quoted(other),
        second: quoted(name),
        path: slot.runtimeDir,
        file,
      });
    }
    byRuntimeDir.set(slot.runtimeDir, name);
    slots.set(name, slot);
  }
  return slots;
}

export interface SlotInputs {
  /** The caller's environment. */
  readonly env: Env;
  readonly paths: BmuxPaths;
  /** The program name of the caller: `bmux-SLOT` selects a slot. */
  readonly programName?: string | undefined;
  /** The `slot` field of a request; it overrides all other sources. */
  readonly explicit?: string | undefined;
  readonly daemon?: Env | undefined;
  readonly cwd?: string | undefined;
  readonly marks?: Marks | undefined;
  readonly read?: ReadFile | undefined;
}

export interface ActiveSlot {
  readonly slot?: Slot;
  readonly warnings: readonly string[];
  /** Every manifest file that was checked; empty when no slot was requested. */
  readonly files: readonly string[];
}

/** The name of the requested slot, if any. */
export function slotNameOf({
  env,
  programName,
  explicit,
}: Pick<SlotInputs, 'env' | 'programName' | 'explicit'>): string | undefined {
  for (const written of [explicit, env['BMUX_SLOT_NAME']]) {
    const name = (written ?? '').trim();
    if (name !== '') return name;
  }
  const program = /^bmux-(.+)$/su.exec(basename(programName ?? ''))?.[1];
  return program !== undefined && slotNameProblem(program) === undefined ? program : undefined;
}

/**
 * Finds the active slot of a caller. When the manifest cannot be read, no slot is active and a warning says so (docs/bmux-protocol.md,
 * "Slots"). A slot that the manifest does not declare is `slot_unknown`.
 */
export async function activeSlot(inputs: SlotInputs): Promise<ActiveSlot> {
  const { env, paths, daemon, cwd = '', marks = new Map<string, string>() } = inputs;
  const name = slotNameOf(inputs);
  if (name === undefined) return { warnings: [], files: [] };
  const variables: Variables = { env, ...(daemon === undefined ? {} : { daemon }) };
  const ownMarks: Marks = new Map();
  let slots: ReadonlyMap<string, Slot>;
  try {
    const files = await readFiles(manifestFile(env, paths, cwd), variables, ownMarks, inputs.read);
    slots = slotsOf(files, variables, paths);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const why = [error.data.detail, ...error.data.causes].join(': ');
    return {
      warnings: [`the slot manifest cannot be read, so slot ${quoted(name)} counts as no slot: ${why}`],
      files: [...ownMarks.keys()],
    };
  } finally {
    for (const [file, mark] of ownMarks) marks.set(file, mark);
  }
  const slot = slots.get(name);
  if (slot !== undefined) return { slot, warnings: [], files: [...ownMarks.keys()] };
  throw fail('slot_unknown', { slot: quoted(name), known: [...slots.keys()].map(quoted).join(', ') });
}
