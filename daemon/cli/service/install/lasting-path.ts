// Whether a path of Node or of bmuxd will be there tomorrow. Version managers and package managers use paths that an upgrade removes, or the
// end of a shell.
import { existsSync, realpathSync } from 'node:fs';

/** What removes the path. */
interface Kind {
  readonly pattern: RegExp;
  readonly why: string;
  /** A path that leads to the same file and stays, as a replacement of the pattern. */
  readonly stays?: readonly string[];
}

const KINDS: readonly Kind[] = [
  { pattern: /\/fnm_multishells\/.*/, why: 'fnm removes it with the shell' },
  {
    pattern: /\/\.?fnm\/node-versions\/[^/]+\/installation\/.*/,
    why: 'fnm removes it with this version of Node',
  },
  { pattern: /\/\.?nvm\/versions\/node\/[^/]+\/.*/, why: 'nvm removes it with this version of Node' },
  { pattern: /\/\.?volta\/tools\/image\/node\/[^/]+\/.*/, why: 'volta removes it with this version of Node' },
  {
    pattern: /\/\.?asdf\/(installs\/nodejs\/[^/]+|shims)\/.*/,
    why: 'asdf removes it with this version of Node',
  },
  { pattern: /\/mise\/(installs\/node\/[^/]+|shims)\/.*/, why: 'mise removes it with this version of Node' },
  {
    pattern: /\/Cellar\/([^/]+)\/[^/]+\/(.*)/,
    why: 'Homebrew removes it with the next upgrade',
    stays: ['/opt/$1/$2'],
  },
  {
    pattern: /\/snap\/([^/]+)\/x?\d+\/(.*)/,
    why: 'snap removes it with a later upgrade',
    stays: ['/snap/$1/current/$2'],
  },
  {
    pattern: /^\/nix\/store\/[^/]+\/(.*)/,
    why: 'Nix may collect it',
    stays: ['/run/current-system/sw/$1'],
  },
  {
    pattern: /\/\.pnpm\/bmuxd@[^/]+\/node_modules\/bmuxd\/(.*)/,
    why: 'pnpm removes it with the next upgrade',
    stays: ['/bmuxd/$1', '/node_modules/bmuxd/$1'],
  },
  { pattern: /\/(_npx|dlx[-/]|\.bun\/install\/cache)\b.*/, why: 'it is in a cache that may be emptied' },
  { pattern: /^(\/private)?\/(tmp|var\/tmp|var\/folders)\/.*/, why: 'it is in a folder for temporary files' },
  // Last: of nodenv, nvs, proto, pnpm, of an archive of nodejs.org, and of what is not known here.
  { pattern: /\/[^/]*\d+\.\d+\.\d+[^/]*\/.*/, why: 'its folder is that of one version' },
];

export interface Lasting {
  /** The path to use. */
  readonly path: string;
  /** Why even that may vanish; undefined when it stays. */
  readonly why?: string;
}

/** `path`, or another one to the same file that an upgrade does not remove. */
export function lastingPath(path: string): Lasting {
  for (const { pattern, why, stays = [] } of KINDS) {
    if (!pattern.test(path)) continue;
    const other = stays.map((form) => path.replace(pattern, form)).find((one) => isSame(one, path));
    return other === undefined ? { path, why } : { path: other };
  }
  return { path };
}

function isSame(one: string, other: string): boolean {
  try {
    return existsSync(one) && realpathSync(one) === realpathSync(other);
  } catch {
    return false;
  }
}
