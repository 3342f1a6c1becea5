// Makes target sockets in temporary folders, with servers that say their name.
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import {
  makeTargetSocketFolder,
  type TargetSocketFolder,
} from '../../../daemon/control/target-sockets/folder.ts';

export async function parentFor(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-target-socket-'));
  t.teardown(async () => {
    for (const name of await readdir(folder)) await chmod(join(folder, name), 0o700).catch(() => undefined);
    await rm(folder, { recursive: true });
  });
  return folder;
}

/** A server that sends its name to each client. */
export function named(t: Test, name: string): Server {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(name);
  });
  t.teardown(() => server.close());
  return server;
}

export async function make(
  t: Test,
  parent: string,
  target: string,
  says: string,
): Promise<{ readonly server: Server; readonly folder: TargetSocketFolder }> {
  const server = named(t, says);
  return { server, folder: await makeTargetSocketFolder(parent, target, server) };
}

/** The name that the server at `path` sends, or the error code of the connect. */
export function answerAt(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(path);
    let said = '';
    socket.on('data', (chunk) => (said += chunk.toString()));
    socket.on('end', () => {
      resolve(said);
    });
    socket.on('error', (error) => {
      resolve('code' in error ? String(error.code) : error.message);
    });
  });
}
