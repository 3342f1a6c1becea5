// Quotes values for shells.
import type { Variables } from '../../api/target-socket-env.ts';

/** For bash, zsh and every POSIX shell. */
export const quotedSh = (value: string): string => `'${value.replaceAll("'", `'\\''`)}'`;

export const quotedFish = (value: string): string =>
  `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

/** Lines that set and export the variables. */
export function variablesForSh(variables: Variables): string {
  return variables.map(([name, value]) => `export ${name}=${quotedSh(value)}\n`).join('');
}
