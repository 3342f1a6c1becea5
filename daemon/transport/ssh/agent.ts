// Which SSH agent a login uses: a forwarded agent ends with its login session, and its socket may stay.
import { connect } from 'node:net';
import type { SshRoute } from '../../engine-protocol/plan.ts';
import { LIMITS } from '../../base/limits.ts';

/** The first agent of the route that takes a connection; the caller's own one when none does. */
export async function firstLiveAgent({ agentSocket, earlierAgents }: SshRoute): Promise<string | undefined> {
  if (agentSocket === undefined || earlierAgents === undefined) return agentSocket;
  for (const path of [agentSocket, ...earlierAgents]) if (await isLive(path)) return path;
  return agentSocket;
}

function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (isThere: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(isThere);
    };
    const timer = setTimeout(done, LIMITS.sshControlMs, false);
    socket.once('connect', () => {
      done(true);
    });
    socket.once('error', () => {
      done(false);
    });
  });
}
