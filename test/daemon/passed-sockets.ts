// The sockets of a daemon as a service manager holds them, while control and engine come and go. The process of the test is the manager.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { dirname } from 'node:path';
import { bindWithoutListen } from '../../daemon/sockets/bind.ts';
import type { ChildSpec } from '../real/child.ts';

type Env = Readonly<Record<string, string>>;

export class PassedSockets {
  readonly #servers: readonly Server[];

  private constructor(servers: readonly Server[]) {
    this.#servers = servers;
  }

  /** Binds them. A daemon listens; the queues are there as long as this process has the sockets, too. */
  static async hold(at: {
    readonly socketPath: string;
    readonly streamsPath: string;
  }): Promise<PassedSockets> {
    await mkdir(dirname(at.socketPath), { mode: 0o700, recursive: true });
    const servers = [at.socketPath, at.streamsPath].map((path) => {
      const server = createServer();
      bindWithoutListen(server, path);
      return server;
    });
    return new PassedSockets(servers);
  }

  /** What starts Node with these arguments and the sockets, as systemd does. */
  pass(args: readonly string[], env: Env): Omit<ChildSpec, 'ready'> & { readonly fds: readonly number[] } {
    return {
      command: 'sh',
      args: ['-c', 'LISTEN_PID=$$ exec "$@"', 'sh', process.execPath, ...args],
      env: { ...env, LISTEN_FDS: '2', LISTEN_FDNAMES: 'control:streams' },
      fds: this.#servers.map(descriptorOf),
    };
  }

  /** Starts `bmuxd run` so. */
  start(program: string, env: Env): ChildProcess {
    const how = this.pass(['--max-semi-space-size=2', program, 'run'], env);
    return spawn(how.command, how.args, {
      env: how.env,
      stdio: ['ignore', 'ignore', 'ignore', ...how.fds],
    });
  }

  close(): void {
    for (const server of this.#servers) server.close();
  }
}

function descriptorOf(server: Server): number {
  const fd: unknown = Reflect.get(Object(Reflect.get(server, '_handle')), 'fd');
  if (typeof fd !== 'number') throw new Error('the socket has no descriptor');
  return fd;
}
