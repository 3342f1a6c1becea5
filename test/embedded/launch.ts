// Starts the embedded server and its gateways in their own process and sends it commands.
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { EmbeddedAddresses, EmbeddedCommand, EmbeddedOptions, EmbeddedStatus } from './options.ts';

/** Time limit for the process to listen (a relay takes a while), and for each command, ms. */
const START_MS = 60_000;
const COMMAND_MS = 60_000;
/** Time limit for its exit, ms. */
const STOP_MS = 8000;
/** Characters of its stderr that an error quotes. */
const SAID_MAX = 4096;

export interface Embedded extends EmbeddedAddresses {
  status(): Promise<EmbeddedStatus>;
  command(command: EmbeddedCommand): Promise<unknown>;
  /** Ends it properly; calling twice is safe. */
  stop(): Promise<void>;
  /** Ends it with SIGKILL, as a crash would. */
  kill(): Promise<void>;
}

/** Any line from the process. */
type Line = Partial<EmbeddedAddresses> & {
  readonly id?: number;
  readonly value?: unknown;
  readonly error?: string;
};

export async function launchEmbedded(options: EmbeddedOptions): Promise<Embedded> {
  const main = fileURLToPath(new URL('main.js', import.meta.url));
  const child = spawn(process.execPath, [main, JSON.stringify(options)], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-SAID_MAX);
  });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const waiting = new Map<number, (line: Line) => void>();
  let nextId = 1;
  let gone: string | undefined;
  child.stdin.on('error', () => undefined); // its exit reports the error

  const addresses = await new Promise<EmbeddedAddresses>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`the embedded server did not listen within ${START_MS} ms`));
    }, START_MS);
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      gone = `the embedded server left: ${code ?? signal}\n${said}`;
      reject(new Error(gone));
      for (const answer of waiting.values()) answer({ error: gone });
      waiting.clear();
    });
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = JSON.parse(text) as Line;
      if (line.id === undefined) {
        clearTimeout(timer);
        resolve(line as EmbeddedAddresses);
      } else {
        waiting.get(line.id)?.(line);
        waiting.delete(line.id);
      }
    });
  });

  const command = (what: EmbeddedCommand): Promise<unknown> =>
    new Promise((resolve, reject) => {
      if (gone !== undefined) {
        reject(new Error(gone));
        return;
      }
      const id = nextId++;
      const timer = setTimeout(() => {
        waiting.delete(id);
        reject(new Error(`no answer to ${what.do} within ${COMMAND_MS} ms`));
      }, COMMAND_MS);
      waiting.set(id, (line) => {
        clearTimeout(timer);
        if (line.error === undefined) resolve(line.value);
        else reject(new Error(line.error));
      });
      child.stdin.write(`${JSON.stringify({ id, ...what })}\n`);
    });

  return {
    ...addresses,
    command,
    status: async () => (await command({ do: 'status' })) as EmbeddedStatus,
    stop: () => stop(child, exited),
    kill: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

async function stop(child: ChildProcess, exited: Promise<void>): Promise<void> {
  child.stdin?.end();
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await exited;
  clearTimeout(timer);
}
