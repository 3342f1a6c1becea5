// For tests of SSH auth: a proof that a real host accepted, and hosts and agents that a test scripts.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { repositoryRoot } from '../../real/index.ts';

interface Vector {
  readonly namespace: string;
  readonly challenge: number[];
  readonly fingerprint: string;
  readonly public_key_openssh: string;
  readonly signature_pem: string;
  readonly second_key: { readonly public_key_openssh: string; readonly fingerprint: string };
}

export const vector = JSON.parse(
  await readFile(join(repositoryRoot(), 'test', 'vectors', 'ssh-auth.json'), 'utf8'),
) as Vector;

export function keyOf(line: string): { type: string; blob: Buffer } {
  const [type = '', body = ''] = line.split(' ');
  return { type, blob: Buffer.from(body, 'base64') };
}

/** Listens on its own Unix socket. */
export async function listen(t: Test, onSocket: (socket: Socket) => void): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-auth-'));
  const path = join(folder, 's');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await rm(folder, { recursive: true, force: true });
  });
  return path;
}

/** A host that answers each line of the client with the result of `script`; null closes the connection. */
export async function host(t: Test, script: (line: Record<string, unknown>) => string | null) {
  const path = await listen(t, (socket) => {
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('utf8');
      for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n')) {
        const answer = script(JSON.parse(text.slice(0, at)) as Record<string, unknown>);
        text = text.slice(at + 1);
        if (answer === null) socket.destroy();
        else socket.write(answer);
      }
    });
  });
  return () => connect({ path, allowHalfOpen: true });
}

export const challengeLine = (allowed: readonly string[]): string =>
  `${JSON.stringify({ type: 'challenge', challenge: vector.challenge, allowed_fingerprints: allowed })}\n`;
export const resultLine = (ok: boolean, error: string | null): string =>
  `${JSON.stringify({ type: 'result', ok, error })}\n`;
