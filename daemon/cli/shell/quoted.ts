// Quotes values for shells.
/** Names with the values to set, in order; undefined: to unset. */
export type ShellVariables = readonly (readonly [name: string, value: string | undefined])[];

/** For bash, zsh and every POSIX shell. */
export const quotedSh = (value: string): string => `'${value.replaceAll("'", `'\\''`)}'`;

export const quotedFish = (value: string): string =>
  `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

/** Lines that set and export the variables, or unset them. */
export function variablesForSh(settings: ShellVariables): string {
  return settings
    .map(([name, value]) => (value === undefined ? `unset ${name}\n` : `export ${name}=${quotedSh(value)}\n`))
    .join('');
}

export function variablesForFish(settings: ShellVariables): string {
  return settings
    .map(([name, value]) =>
      value === undefined ? `set -e ${name}\n` : `set -gx ${name} ${quotedFish(value)}\n`,
    )
    .join('');
}
