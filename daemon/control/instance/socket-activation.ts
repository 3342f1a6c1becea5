// Socket activation: a service manager listens before bmuxd runs, and passes the sockets as descriptors from 3 on, see sd_listen_fds(3).
import type { Server } from 'node:net';
import { textOf } from '../../base/failure.ts';
import type { Env } from '../../base/paths.ts';
import { fail } from '../../errors/fail.ts';

/** SD_LISTEN_FDS_START. */
const FIRST_FD = 3;

/** Descriptors of the listening sockets that were passed to this process, by their names (`FileDescriptorName=`). */
export interface PassedSockets {
  readonly control?: number;
  readonly streams?: number;
}

/** The passed sockets. A single socket whose name is not `streams` is the control socket. Throws `activation_invalid`. */
export function passedSockets(env: Env, pid: number): PassedSockets {
  const { LISTEN_FDS: count, LISTEN_PID: meant, LISTEN_FDNAMES: text = '' } = env;
  // With another LISTEN_PID the variables were inherited and were meant for a parent process.
  if (count === undefined || meant !== String(pid)) return {};
  const names = text === '' ? [] : text.split(':');
  if (count === '1') return names[0] === 'streams' ? { streams: FIRST_FD } : { control: FIRST_FD };
  const control = names.indexOf('control');
  const streams = names.indexOf('streams');
  if (count !== '2' || control < 0 || streams < 0) {
    const why = `it passes ${count} sockets with the names '${text}', and not one, or two with the names 'control' and 'streams'`;
    throw fail('activation_invalid', { why });
  }
  return { control: FIRST_FD + control, streams: FIRST_FD + streams };
}

/** Listens on a passed socket. The socket file belongs to the service manager, so it is never unlinked. */
export function listenOn(server: Server, fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => {
      reject(fail('activation_invalid', { why: textOf(error) }, error));
    };
    server.once('error', onError);
    server.listen({ fd }, () => {
      server.off('error', onError);
      resolve();
    });
  });
}
