// Which version the daemon has, as its answers to this command say.
import { packageVersion } from '../base/version.ts';
import type { CommandContext } from './command.ts';

let heard: string | undefined;
/** The command's own output says it. */
let isSaid = false;

/** Notes the header of an answer. An older daemon does not send it. */
export function hearVersion(header: string | readonly string[] | undefined): void {
  if (typeof header === 'string') heard = header;
}

/** The daemon's version when it is not that of this program. */
export function otherVersion(): string | undefined {
  // Most commands hear nothing. Those that failed for want of file descriptors can read no file.
  if (heard === undefined || heard === packageVersion()) return undefined;
  return heard;
}

/** To be called by a command whose output says that the daemon has another version. */
export function versionIsSaid(): void {
  isSaid = true;
}

/** Says, where a person reads it, that the daemon has another version. Called once, when the command has ended. */
export function sayOtherVersion({ err, stderr }: Pick<CommandContext, 'err' | 'stderr'>): void {
  const other = otherVersion();
  if (other !== undefined && !isSaid && stderr.isTTY) err(`bmuxd: ${versionsDiffer(other)}\n`);
}

/** One line with the remedy. */
export function versionsDiffer(other: string): string {
  const own = packageVersion();
  return `the daemon is bmuxd ${other}, this command is ${own}: run \`bmuxd restart\` to use ${own}`;
}
