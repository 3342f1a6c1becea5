// The package as a user gets it: packed, and installed into an empty prefix with a clean HOME.
import { mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { onPath, repositoryRoot, run } from '../real/index.ts';

/** Time limit of npm: it waits for a registry. */
const NPM_MS = 300_000;

/** A Node and an npm: the files that are run. */
export interface Tools {
  readonly node: string;
  /** `npm-cli.js`, or the program `npm`. */
  readonly npm: string;
}

export interface Installed {
  readonly prefix: string;
  /** The environment of its user: HOME and PATH, and nothing else of this process but where npm finds its registry. */
  readonly env: Readonly<Record<string, string>>;
}

/** The tools that run this test; undefined where there is no npm. */
export function ownTools(): Tools | undefined {
  const npm = onPath('npm');
  return npm === undefined ? undefined : { node: process.execPath, npm };
}

/** Packs what is built, into `folder`. Returns the path of the package. */
export async function pack(folder: string, { npm }: Tools): Promise<string> {
  const env = { ...npmEnv(folder), PATH: process.env['PATH'] ?? '' };
  // The scripts would install and build, which has been done.
  const args = ['pack', repositoryRoot(), '--ignore-scripts', '--json', '--pack-destination', folder];
  const packed = await run(npm, args, env, NPM_MS);
  if (packed.status !== 0) throw new Error(`npm pack: ${packed.stderr}`);
  const name = /"filename": "([^"]+)"/.exec(packed.stdout)?.[1];
  if (name === undefined) throw new Error(`npm pack printed ${packed.stdout}`);
  return join(folder, name);
}

/** Installs the package below `home`. Returns a text instead where no registry answers. */
export async function install(file: string, home: string, { node, npm }: Tools): Promise<Installed | string> {
  const prefix = join(home, '.local');
  await mkdir(prefix, { recursive: true });
  const PATH = [join(prefix, 'bin'), dirname(node), process.env['PATH'] ?? ''].join(':');
  const env = { ...npmEnv(home), HOME: home, PATH, npm_config_prefix: prefix };
  const args = ['install', '-g', '--prefer-offline', '--no-audit', '--no-fund', file];
  const [command, all] = npm.endsWith('.js') ? [node, [npm, ...args]] : [npm, args];
  const installed = await run(command, all, env, NPM_MS);
  if (installed.status === 0) return { prefix, env };
  if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENOTCACHED|ECONNRESET/.test(installed.stderr))
    return 'no registry of npm answers';
  throw new Error(`npm install: ${installed.stderr}`);
}

/** What npm needs to find its registry and what it has fetched before. */
export function npmEnv(home: string): Record<string, string> {
  const passed = Object.entries(process.env).filter(
    ([name, value]) =>
      /^(https?_proxy|no_proxy|npm_config_registry|SSL_CERT_FILE|NODE_EXTRA_CA_CERTS)$/i.test(name) &&
      value !== undefined,
  );
  return {
    ...(Object.fromEntries(passed) as Record<string, string>),
    HOME: home,
    npm_config_cache: process.env['npm_config_cache'] ?? join(homedir(), '.npm'),
    npm_config_update_notifier: 'false',
  };
}
