// The package under every supported Node and npm, what two checkers of packages say, and one of descriptions of APIs. It installs each from the registry, so it takes minutes.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openapi } from '../../daemon/api/openapi/document.ts';
import { packageVersion } from '../../daemon/base/version.ts';
import { run } from '../real/index.ts';
import { install, npmEnv, ownTools, pack, type Tools } from './packed.ts';
import { checks } from './works.ts';

const NODES = ['20', '22', '24', '26'];
const NPMS = ['10', '11', '12'];
const COMBINATIONS = NODES.flatMap((node) => NPMS.map((npm) => ({ node, npm })));
const CHECKERS = ['publint', '@arethetypeswrong/cli'];
const API_CHECKER = '@redocly/cli';
/** Time limit of npm. */
const NPM_MS = 300_000;

/** publint knows no program that begins in the language of a shell (daemon/cli/shell/front.sh). */
const EXPECTED = /pkg\.bin\.bmuxd .* should start with a shebang/;

export const COUNT = COMBINATIONS.length;

export interface Matrix {
  /** Tries the next `count` combinations; rejects with the first that does not work. */
  run(count: number): Promise<void>;
  stop(): Promise<void>;
}

export async function startMatrix(say: (text: string) => void): Promise<Matrix> {
  const own = ownTools();
  if (own === undefined) throw new Error('npm not found');
  const folder = await mkdtemp(join(tmpdir(), 'bm-'));
  const file = await pack(folder, own);
  await judge(file, folder, own);
  await judgeApi(folder, own);
  let next = 0;
  return {
    run: async (count) => {
      for (let done = 0; done < count; done += 1) {
        const { node, npm } = COMBINATIONS[next % COUNT] ?? { node: '', npm: '' };
        const place = join(folder, String(next));
        next += 1;
        const name = `Node ${node} with npm ${npm}`;
        const tools = await fetched(node, npm, place, own);
        say(`${name}: ${typeof tools === 'string' ? tools : await tried(name, file, place, tools)}`);
        await rm(place, { recursive: true, force: true, maxRetries: 5 });
      }
    },
    stop: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }),
  };
}

/** Installs a Node and an npm; a text says that this npm does not run with this Node. */
async function fetched(node: string, npm: string, place: string, own: Tools): Promise<Tools | string> {
  const env = { ...npmEnv(place), PATH: process.env['PATH'] ?? '' };
  const prefix = join(place, 't');
  await mkdir(prefix, { recursive: true });
  // The package `node` puts the program of this platform in its place when it is installed.
  await writeFile(join(prefix, 'package.json'), '{"private": true, "allowScripts": {"node": true}}');
  const args = ['install', '--no-audit', '--no-fund', `node@${node}`, `npm@${npm}`];
  const made = await run(own.npm, ['--prefix', prefix, ...args], env, NPM_MS);
  if (made.status !== 0) throw new Error(`node@${node} and npm@${npm}: ${made.stderr}`);
  const modules = join(prefix, 'node_modules');
  const tools = { node: join(modules, 'node/bin/node'), npm: join(modules, 'npm/bin/npm-cli.js') };
  const { stderr } = await run(tools.node, [tools.npm, '--version'], env, NPM_MS);
  const { engines } = JSON.parse(await readFile(join(modules, 'npm/package.json'), 'utf8')) as {
    engines: { node: string };
  };
  return stderr.includes('does not support Node') ? `it needs Node ${engines.node}` : tools;
}

async function tried(name: string, file: string, place: string, tools: Tools): Promise<string> {
  const since = performance.now();
  const installed = await install(file, join(place, 'h'), tools);
  if (typeof installed === 'string') throw new Error(`${name}: ${installed}`);
  const seconds = ((performance.now() - since) / 1000).toFixed(0);
  for (const { what, ran, prints } of await checks(place, installed)) {
    if (ran.status !== 0 || !prints.test(ran.stdout))
      throw new Error(`${name}: ${what}: status ${String(ran.status)}\n${ran.stdout}${ran.stderr}`);
  }
  return `installed in ${seconds} s, works`;
}

/** Lets both checkers look at the package. */
async function judge(file: string, folder: string, { npm }: Tools): Promise<void> {
  const env = { ...npmEnv(folder), PATH: process.env['PATH'] ?? '' };
  for (const checker of CHECKERS) {
    // The library needs `exports`: resolution of types without them is not for it.
    const options = checker === 'publint' ? ['--strict'] : ['--profile', 'node16'];
    const judged = await run(npm, ['exec', '--yes', '--', checker, file, ...options], env, NPM_MS);
    const findings = judged.stdout.split('\n').filter((line) => /^\d+\. /.test(line) && !EXPECTED.test(line));
    if (
      judged.status === 0 ||
      (checker === 'publint' && findings.length === 0 && EXPECTED.test(judged.stdout))
    )
      continue;
    throw new Error(`${checker}: ${judged.stdout}${judged.stderr}`);
  }
}

/** Lets a checker look at what `GET /v1/openapi.json` answers. */
async function judgeApi(folder: string, { npm }: Tools): Promise<void> {
  const description = join(folder, 'openapi.json');
  await writeFile(description, JSON.stringify(openapi(packageVersion())));
  const env = { ...npmEnv(folder), PATH: process.env['PATH'] ?? '', REDOCLY_TELEMETRY: 'off' };
  const judged = await run(npm, ['exec', '--yes', '--', API_CHECKER, 'lint', description], env, NPM_MS);
  // With warnings alone it succeeds.
  if (judged.status !== 0 || /You have \d+ warning/.test(judged.stdout + judged.stderr))
    throw new Error(`${API_CHECKER}: ${judged.stdout}${judged.stderr}`);
}
