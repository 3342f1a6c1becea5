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

export interface HostileHost {
  /** The name of its mode. */
  readonly name: string;
  readonly endpointId: string;
  /** `IP:PORT` for a direct path. */
  readonly address: string;
  /** SSH auth is asked for. */
  readonly sshAuth: boolean;
}

interface Launched {
  stop(): Promise<void>;
}

/** `folder`: where the Unix sockets are made. */
export function launchHostile(folder: string): Promise<HostileAddresses & Launched> {
  return launch<HostileAddresses>('main.js', folder);
}

/** Iroh hosts. `keys`: the OpenSSH public keys that may come in; without any, no host asks for SSH auth. */
export function launchHostileHosts(
  keys: readonly string[],
): Promise<{ readonly hosts: readonly HostileHost[] } & Launched> {
  return launch<{ readonly hosts: readonly HostileHost[] }>('iroh-main.js', JSON.stringify(keys));
}

async function launch<T>(program: string, argument: string): Promise<T & Launched> {
  const main = fileURLToPath(new URL(program, import.meta.url));
  const child = spawn(process.execPath, [main, argument], { stdio: ['pipe', 'pipe', 'inherit'] });
  // In reality they have a machine of their own: they take no time from the daemon.
  if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_LOW);
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const addresses = await new Promise<T>((resolve, reject) => {
    child.once('error', reject);
    void exited.then(() => reject(new Error('the hostile servers left')));
    createInterface({ input: child.stdout }).once('line', (line) => {
      resolve(JSON.parse(line) as T);
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
