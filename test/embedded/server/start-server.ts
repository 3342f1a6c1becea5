// Starts an embedded server in its own folder, opens sockets to it, and ends it with the test.
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { EmbeddedServer, type EmbeddedServerOptions } from './server.ts';

export async function start(
  t: Test,
  options: Omit<EmbeddedServerOptions, 'socketPath'>,
): Promise<EmbeddedServer> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-embedded-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const server = await EmbeddedServer.start({ ...options, socketPath: join(folder, 'server.sock') });
  t.teardown(() => server.stop());
  return server;
}

export function open(t: Test, socketPath: string): Socket {
  const socket = connect({ path: socketPath, allowHalfOpen: true });
  t.teardown(() => socket.destroy());
  return socket;
}
