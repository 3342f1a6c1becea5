// Finds and reads the files of bmux's config, lowest layer first (docs/bmux-protocol.md, "Config layers").
import { appended, type BmuxPaths, type Env } from '../../base/paths.ts';
import { fail } from '../../errors/fail.ts';
import type { Marks, ReadFile } from '../files/file.ts';
import type { Slot } from './slots.ts';
import { readToml, type Doc } from '../files/toml.ts';

/** The files of one context after reading. */
export interface Layers {
  /** Files that exist, lowest layer first. */
  readonly docs: readonly Doc[];
  /** Every file that was checked, existing or not. */
  readonly files: readonly string[];
}

export interface LayerInputs {
  /** The caller's environment. */
  readonly env: Env;
  readonly paths: BmuxPaths;
  readonly slot?: Slot | undefined;
  /** The file that `--config` names; the highest layer. */
  readonly explicitFile?: string | undefined;
  /** The caller's working directory, for a relative BMUX_CONFIG. */
  readonly cwd?: string | undefined;
  /** Collects the marks of the files that were checked, also when reading fails. */
  readonly marks?: Marks | undefined;
  readonly read?: ReadFile | undefined;
}

/** The overlay that `bmux remote init` writes (docs/bmux-protocol.md, "Config layers"). */
function overlayFile(paths: BmuxPaths): string {
  return appended(paths.stateDir, 'config-overlay.toml');
}

function baseWanted(env: Env, slot: Slot | undefined): boolean {
  if (slot?.inheritBase !== true) return false;
  return !['1', 'true', 'yes', 'on'].includes((env['BMUX_NO_BASE_CONFIG'] ?? '').trim().toLowerCase());
}

/**
 * Reads all layers. Fails with `config_syntax`, `file_unreadable`, or `config_missing` when an explicitly named file does not exist. The slot
 * only decides whether base.toml is a layer: the slot's own folders hold no layer [measured].
 */
export async function readLayers(inputs: LayerInputs): Promise<Layers> {
  const { env, paths, slot, explicitFile, cwd = '', marks = new Map<string, string>() } = inputs;
  const files: string[] = [];
  const docs: Doc[] = [];
  const look = async (file: string): Promise<boolean> => {
    files.push(file);
    const doc = await readToml(file, marks, inputs.read);
    if (doc !== undefined) docs.push(doc);
    return doc !== undefined;
  };
  const lookNamed = async (written: string, source: string): Promise<void> => {
    const file = appended(cwd, written);
    if (!(await look(file))) throw fail('config_missing', { file, source });
  };
  if (baseWanted(env, slot)) await look(appended(paths.configRoot, 'base.toml'));
  for (const dir of paths.configDirs) if (await look(appended(dir, 'bmux.toml'))) break;
  await look(overlayFile(paths));
  const named = env['BMUX_CONFIG'];
  if (named !== undefined) await lookNamed(named, 'BMUX_CONFIG');
  if (explicitFile !== undefined) await lookNamed(explicitFile, '--config');
  return { docs, files };
}
