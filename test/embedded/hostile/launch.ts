// Starts the hostile servers in their own process.
import { spawn } from 'node:child_process';
import { constants, setPriority } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface HostileServer {
  /** The name of its mode. */
  readonly name: string;
  /** Of TLS, on 127.0.0.1. */
  readonly port: number;
  /** The folder of its `server.sock`. Missing for a mode that acts in the TLS handshake. */
  readonly runtimeDir?: string;
}

export interface HostileAddresses {
  /** PEM; write it to a file for `ca_file`. */
  readonly certPem: string;
  readonly servers: readonly HostileServer[];
}

export interface Hostile extends HostileAddresses {
  stop(): Promise<void>;
}

/** `folder`: where the Unix sockets are made. */
export async function launchHostile(folder: string): Promise<Hostile> {
  const main = fileURLToPath(new URL('main.js', import.meta.url));
  const child = spawn(process.execPath, [main, folder], { stdio: ['pipe', 'pipe', 'inherit'] });
  // In reality they have a machine of their own: they take no time from the daemon.
  if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_LOW);
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const addresses = await new Promise<HostileAddresses>((resolve, reject) => {
    child.once('error', reject);
    void exited.then(() => reject(new Error('the hostile servers left')));
    createInterface({ input: child.stdout }).once('line', (line) => {
      resolve(JSON.parse(line) as HostileAddresses);
    });
  });
  return {
    ...addresses,
    stop: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
