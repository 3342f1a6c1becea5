// Expands variables in paths of config files. bmux has two grammars: one for its config, one for the slot manifest.
import { homeOf, type Env } from '../../base/paths.ts';

/** Sources of variables. `daemon` is the environment of bmuxd, used for variables that the caller's lacks (docs/decisions/contexts.md). */
export interface Variables {
  readonly env: Env;
  readonly daemon?: Env;
  /** The caller's working directory, in place of its PWD, which no request carries. */
  readonly cwd?: string | undefined;
}

/** A path of the config after expansion. */
export interface Expanded {
  readonly path: string;
  /** Variables that no environment sets; they stay as written. */
  readonly unset: readonly string[];
  /** Variables that only the environment of bmuxd sets. */
  readonly borrowed: readonly string[];
}

const NAME = '[A-Za-z_][A-Za-z0-9_]*';
const WHOLE_NAME = new RegExp(`^${NAME}$`, 'u');
const VARIABLE = new RegExp(`\\$(?:(\\$)|\\{([^}]*)\\}|(${NAME}))`, 'gu');

/** Expands `~`, `$VAR`, `${VAR}` and `$$` in a path of bmux.toml (docs/bmux-protocol.md, "Config layers"). Any other `$` stays as written. */
export function expandConfigPath(written: string, { env, daemon, cwd }: Variables): Expanded {
  const unset = new Set<string>();
  const borrowed = new Set<string>();
  // As in bmux, `~` is expanded before variables: a `$` in the name of the home folder is expanded too.
  const withHome = written.replace(/^~(?=$|[/\\])/u, () => homeOf(env));
  const path = withHome.replace(
    VARIABLE,
    (whole: string, dollar?: string, braced?: string, bare?: string) => {
      if (dollar !== undefined) return '$';
      const name = braced ?? bare ?? '';
      if (!WHOLE_NAME.test(name)) return whole;
      const own = env[name] ?? (name === 'PWD' ? cwd : undefined);
      if (own !== undefined) return own;
      const other = daemon?.[name];
      (other === undefined ? unset : borrowed).add(name);
      return other ?? whole;
    },
  );
  return { path, unset: [...unset], borrowed: [...borrowed] };
}

/**
 * Expands `${VAR}`, `${VAR:-default}` and `~` in a path of the slot manifest, nothing else (docs/bmux-protocol.md, "Slot manifest"). `unset`
 * is called for a variable that has neither value nor default, and must throw.
 */
export function expandSlotPath(
  written: string,
  { env, daemon }: Variables,
  unset: (name: string) => never,
): string {
  const filled = written.replace(/\$\{([^}]*)\}/gu, (whole: string, inner: string) => {
    const split = inner.indexOf(':-');
    const name = split === -1 ? inner : inner.slice(0, split);
    if (!WHOLE_NAME.test(name)) return whole;
    return env[name] ?? daemon?.[name] ?? (split === -1 ? unset(name) : inner.slice(split + 2));
  });
  return filled.replace(/^~(?=$|\/)/u, () => homeOf(env));
}
