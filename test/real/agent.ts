// A real ssh-agent with temporary keys.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startChild } from './child.ts';
import { onPath } from './find.ts';
import { run } from './server.ts';

export interface RealAgent {
  /** Use it as SSH_AUTH_SOCK. */
  readonly socket: string;
  readonly folder: string;
  /** Makes a key and loads it; returns its public key line. */
  addKey(type: 'ed25519' | 'rsa' | 'ecdsa', comment: string): Promise<string>;
  stop(): Promise<void>;
}

/** Whether ssh-agent, ssh-add and ssh-keygen are installed. */
export function hasSshAgent(): boolean {
  return ['ssh-agent', 'ssh-add', 'ssh-keygen'].every((name) => onPath(name) !== undefined);
}

/** Starts an agent for one test. */
export async function startAgent(): Promise<RealAgent> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-agent-'));
  const socket = join(folder, 'agent.sock');
  const env = { PATH: process.env['PATH'] ?? '', HOME: folder, SSH_AUTH_SOCK: socket };
  const child = await startChild({
    command: 'ssh-agent',
    args: ['-D', '-a', socket],
    env,
    ready: () => existsSync(socket),
  });
  let keys = 0;
  return {
    socket,
    folder,
    addKey: async (type, comment) => {
      keys += 1;
      const file = join(folder, `key-${String(keys)}`);
      const bits = type === 'rsa' ? ['-b', '2048'] : [];
      const made = await run(
        'ssh-keygen',
        ['-q', '-t', type, ...bits, '-N', '', '-C', comment, '-f', file],
        env,
      );
      if (made.status !== 0) throw new Error(made.stderr);
      const added = await run('ssh-add', [file], env);
      if (added.status !== 0) throw new Error(added.stderr);
      return (await readFile(`${file}.pub`, 'utf8')).trim();
    },
    stop: async () => {
      await child.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
