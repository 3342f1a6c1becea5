// How this installation starts its daemon: which Node, which file, which flags.
import { programPath } from '../../base/version.ts';

/** Flags of Node. A small new space: less memory, and no slower. */
export const SERVICE_FLAGS = ['--max-semi-space-size=2'] as const;

/** The program and its arguments, those of `bmuxd run` included. */
export function daemonCommand(): readonly [node: string, ...args: string[]] {
  return [process.execPath, ...SERVICE_FLAGS, programPath(), 'run'];
}
