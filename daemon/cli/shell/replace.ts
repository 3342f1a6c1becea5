// What the shell in front of Node evaluates to become the command of `bmuxd exec`.
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { SetVariables } from '../../api/target-socket-env.ts';
import { errnoOf, textOf } from '../../base/failure.ts';
import type { Env } from '../../base/paths.ts';
import { fail } from '../../errors/fail.ts';
import { quotedSh, variablesForSh } from './quoted.ts';

/** Where a command is looked for when PATH is not set. */
const USUAL_PATH = '/usr/bin:/bin';
/** Stands in a text of Node for bytes that are not UTF-8. The bytes themselves are known to the shell only. */
const UNREADABLE = '\ufffd';

export interface Replacement {
  readonly command: string;
  /** How many words the command and its arguments are. They end the command line. */
  readonly words: number;
  readonly variables: SetVariables;
  /** Variables that the shell has been given and does not pass on. */
  readonly dropped: SetVariables;
}

/** A program for a POSIX shell whose arguments are those of `bmuxd exec`. */
export function shellProgram({ command, words, variables, dropped }: Replacement): string {
  const kept = dropped.map(([name, value]) => ` ${quotedSh(`${name}=${value}`)}`).join('');
  // env takes a word with `=` for a variable, and some shells take one with a dash for an option of exec.
  const through = kept === '' || command.includes('=') ? '' : ` env${kept}`;
  const exec = `exec${command.startsWith('-') && through === '' ? ' --' : through} "$@"\n`;
  return [`shift $(($# - ${String(words)}))\n`, variablesForSh(variables), exec].join('');
}

/**
 * The variables in `environ`, the environment that a shell has been started with, that it does not pass on: a shell cannot have their names.
 * Functions that bash exports are among them.
 */
export function droppedIn(environ: string): SetVariables {
  return environ.split('\0').flatMap((entry) => {
    const [, name, value = ''] = /^([^=]+)=(.*)$/s.exec(entry) ?? [];
    if (name === undefined || /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || entry.includes(UNREADABLE)) return [];
    return [[name, value] as const];
  });
}

/** The environment that the parent of this process has been started with; empty where the system does not show it. */
export function environOfParent(): string {
  try {
    return readFileSync(`/proc/${String(process.ppid)}/environ`, 'utf8');
  } catch {
    return '';
  }
}

/** Throws `command_missing` or `command_unrunnable`, since the text of a shell for the same differs from shell to shell. */
export function checkRunnable(command: string, env: Env): void {
  if (command.includes(UNREADABLE)) return;
  const folders = command.includes('/') ? [''] : (env['PATH'] ?? USUAL_PATH).split(':');
  let refused: unknown;
  for (const folder of folders) {
    try {
      const path = command.includes('/') ? command : join(folder === '' ? '.' : folder, command);
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return;
      refused ??= Object.assign(new Error(`EACCES: it is no file, '${path}'`), { code: 'EACCES' });
    } catch (error) {
      if (!['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) refused ??= error;
    }
  }
  if (refused === undefined) throw fail('command_missing', { command });
  throw fail('command_unrunnable', { command, why: textOf(refused) }, refused);
}
