// Types the steps on a terminal, as a user with an empty HOME, against a real bmux server that is 50 ms away.
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { startDelayProxy } from '../../embedded/delay-proxy.ts';
import { onPath, realBmux, run, startServer, startTlsGateway } from '../../real/index.ts';
import { configOf, type Step } from './steps.ts';

/** The distance of the server, ms. */
const ROUND_TRIP_MS = 50;

export interface Typed {
  readonly step: Step;
  /** Each line, with what was printed. */
  readonly lines: readonly { readonly line: string; readonly printed: string; readonly status: number }[];
}

/** Why no session can be had here; undefined when it can. */
export function missing(): string | undefined {
  if (realBmux() === undefined) return 'real bmux not found';
  // The programs print for a terminal. That of macOS takes other options.
  if (process.platform !== 'linux' || onPath('script') === undefined) return 'script (util-linux) not found';
  return onPath('bash') === undefined ? 'bash not found' : undefined;
}

export interface Session {
  type(step: Step): Promise<Typed>;
  stop(): Promise<void>;
}

/** `folder` has a short path. `home` becomes the home of the user, in which nothing is but what npm has made. */
export async function startSession(
  folder: string,
  home: string,
  npm: Readonly<Record<string, string>>,
): Promise<Session> {
  const server = await startServer();
  const made = await server.bmux(['new-session', '-n', 'work']);
  if (made.status !== 0) throw new Error(`bmux new-session: ${made.stderr}`);
  const gateway = await startTlsGateway(server, { compression: 'none' });
  const far = await startDelayProxy({
    to: { host: gateway.host, port: gateway.port },
    roundTripMs: ROUND_TRIP_MS,
  });
  const config = join(home, '.config', 'bmux');
  await mkdir(config, { recursive: true });
  await copyFile(gateway.caFile, join(config, 'gateway.pem'));
  await writeFile(join(config, 'bmux.toml'), configOf(far.port));
  const runtime = join(folder, 'r');
  await mkdir(runtime, { mode: 0o700 });
  const { SSL_CERT_FILE: _, ...user } = npm;
  const env = {
    ...user,
    HOME: home,
    PATH: [user['PATH'] ?? '', dirname(realBmux() ?? '')].join(':'),
    SHELL: onPath('bash') ?? 'bash',
    USER: 'ada',
    LANG: 'C.UTF-8',
    TERM: 'xterm-256color',
    NO_COLOR: '1',
    XDG_RUNTIME_DIR: runtime,
  };
  return {
    type: async (step) => {
      const lines = [];
      const before: string[] = [];
      for (const line of step.typed) {
        // The package has been installed so, before the session.
        if (line.startsWith('npm install')) {
          lines.push({ line, printed: '', status: 0 });
          continue;
        }
        const all = ['stty cols 80 rows 40', 'cd', ...before, line].join('\n');
        const { stdout, status } = await run('script', ['-qec', all, '/dev/null'], env, 120_000);
        // What is evaluated stays for the rest of the step.
        if (line.startsWith('eval ')) before.push(line);
        lines.push({ line, status, printed: shown(stdout, { home, runtime, npm, port: far.port }) });
      }
      return { step, lines };
    },
    stop: async () => {
      await run('bmuxd', ['stop'], env);
      await far.stop();
      await gateway.stop();
      await server.stop();
    },
  };
}

interface Here {
  readonly home: string;
  readonly runtime: string;
  readonly npm: Readonly<Record<string, string>>;
  readonly port: number;
}

/** What is on a line before it is wiped: a command that takes long says for what it waits. */
// oxlint-disable-next-line no-control-regex
const WIPED = /[^\n]*\r\u001b\[K/g;

/** What a page shows of an output: paths of an ordinary machine, and no log lines of bmux. */
function shown(output: string, { home, runtime, port }: Here): string {
  const lines = stripVTControlCharacters(output.replaceAll(WIPED, ''))
    .replaceAll('\r', '')
    .replaceAll(home, '/home/ada')
    .replaceAll(runtime, '/run/user/1000')
    // A long path is cut in the middle.
    .replaceAll(/local:\/\S+mux\/server\.sock/g, 'local:/run/user/1000/bmux/server.sock')
    .replaceAll(process.execPath, '/usr/bin/node')
    .replace(/^( +bmux +\S+, ).*\/bmux$/m, '$1/usr/local/bin/bmux')
    .replaceAll(String(port), '7443')
    .split('\n');
  return lines
    .filter((line) => !LEFT_OUT.test(line))
    .join('\n')
    .trimEnd();
}

/** Log lines of bmux, and a warning that is true of a home among temporary files only. */
const LEFT_OUT = /^\S+Z +(?:INFO|WARN) [a-z]|may vanish: it is in a folder for temporary files/;
