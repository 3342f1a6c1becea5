// Socket activation: the service manager listens before bmuxd runs, and hands the socket over as descriptor 3 (sd_listen_fds(3)).
import type { Server } from 'node:net';
import { textOf } from '../../base/failure.ts';
import type { Env } from '../../base/paths.ts';
import { fail } from '../../errors/fail.ts';

/** SD_LISTEN_FDS_START. */
const FIRST_FD = 3;

/** Whether a listening socket was passed to this very process. Rejects more than one with `activation_invalid`. */
export function isActivated(env: Env, pid: number): boolean {
  const { LISTEN_FDS: count, LISTEN_PID: meant } = env;
  // Variables that were inherited from a parent are not meant for us.
  if (count === undefined || meant !== String(pid)) return false;
  if (count !== '1') throw fail('activation_invalid', { why: `it passes ${count} sockets, not one` });
  return true;
}

/** Listens on the passed socket. Its path belongs to the service manager: nothing is unlinked, now or later. */
export function listenActivated(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => {
      reject(fail('activation_invalid', { why: textOf(error) }, error));
    };
    server.once('error', onError);
    server.listen({ fd: FIRST_FD }, () => {
      server.off('error', onError);
      resolve();
    });
  });
}
