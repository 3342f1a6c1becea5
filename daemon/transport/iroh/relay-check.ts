// Finds out beside a dial that takes long whether the relay of the route can be reached at all: the binding does not say it.
import { connect, type Socket } from 'node:net';

/** ms without an answer to a dial before its relay is asked. */
const AFTER_MS = 1000;

export interface RelayCheck {
  /** Why the relay cannot be reached; undefined when it can, and as long as it was not asked. */
  readonly problem: () => Error | undefined;
  readonly stop: () => void;
}

/** Connects to the relay of `relayUrl` after a while, and sends nothing. */
export function checkRelay(relayUrl: string | undefined): RelayCheck {
  let problem: Error | undefined;
  let socket: Socket | undefined;
  const url = relayUrl !== undefined && URL.canParse(relayUrl) ? new URL(relayUrl) : undefined;
  if (url === undefined) return { problem: () => undefined, stop: () => undefined };
  const timer = setTimeout(() => {
    problem = new Error(`no answer from the relay ${url.host}`);
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
    socket = connect(Number(url.port || (url.protocol === 'http:' ? 80 : 443)), host);
    socket.on('error', (error) => {
      problem = error;
    });
    socket.once('connect', () => {
      problem = undefined;
      socket?.destroy();
    });
  }, AFTER_MS);
  timer.unref();
  return {
    problem: () => problem,
    stop: () => {
      clearTimeout(timer);
      socket?.destroy();
    },
  };
}
