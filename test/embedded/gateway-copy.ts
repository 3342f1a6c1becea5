// The two copies of a real gateway between a remote stream and a server connection, with their flaws: a copy that breaks passes
// no end on, and everything is let go only when both copies have ended (docs/bmux-protocol.md, "How a refusal arrives" and "Connection limit"; measured).
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** Stands for a server that is not there: real gateways notice it only after their own handshake. */
export type Outcome = 'served' | 'no-server';

export interface GatewayCopy {
  /** Says that the remote side ended without its proper end (no close_notify, a reset): the way up is over, nothing is passed on. */
  truncated(): void;
  /** Ends both sides at once. */
  destroy(): void;
  /** Resolves when both sides are gone. */
  readonly done: Promise<Outcome>;
}

export interface GatewayCopyOptions {
  readonly remote: Duplex;
  readonly socketPath: string;
  /** Lets go of the remote side when all is over; it may still be half open. */
  readonly drop: () => void;
  /** False (what real gateways do): a broken remote leaves its server connection open. True: it ends it. */
  readonly forgiving: boolean;
  /** A server that resets (it closed with bytes unread) shows as an end to the client; else as silence. */
  readonly resetEnds: boolean;
}

/** Connects to the server and copies both ways. Never rejects. */
export function gatewayCopy(options: GatewayCopyOptions): GatewayCopy {
  const { remote, drop, forgiving, resetEnds } = options;
  const local: Socket = connect({ path: options.socketPath, allowHalfOpen: true });
  let finish: (outcome: Outcome) => void = () => undefined;
  const done = new Promise<Outcome>((resolve) => (finish = resolve));
  let connected = false;
  let upOver = false;
  let downOver = false;
  let over = false;

  const destroy = (): void => {
    if (over) return;
    over = true;
    local.destroy();
    drop();
    finish(connected ? 'served' : 'no-server');
  };
  const settle = (): void => {
    if (upOver && downOver) destroy();
  };
  const breakUp = (): void => {
    upOver = true;
    if (forgiving) destroy();
    else settle();
  };
  const breakDown = (): void => {
    downOver = true;
    settle();
  };

  // Up: remote to server.
  remote.on('data', (chunk: Buffer) => {
    if (upOver) return;
    if (local.destroyed) breakUp();
    else if (!local.write(chunk)) remote.pause();
  });
  local.on('drain', () => remote.resume());
  remote.on('end', () => {
    if (upOver) return;
    upOver = true;
    if (!local.destroyed) local.end();
    settle();
  });

  // Down: server to remote.
  local.on('data', (chunk: Buffer) => {
    if (downOver) return;
    if (remote.destroyed || !remote.writable) breakDown();
    else if (!remote.write(chunk)) local.pause();
  });
  remote.on('drain', () => local.resume());
  local.on('end', () => {
    if (downOver) return;
    downOver = true;
    if (!remote.destroyed) remote.end(settle);
    else settle();
  });

  local.on('connect', () => (connected = true));
  local.on('error', () => {
    if (!connected) {
      destroy();
      return;
    }
    if (resetEnds && !remote.destroyed) remote.end();
    breakDown();
    // What has already come from the remote can no longer be written; the next byte finds that out.
    remote.resume();
  });
  // A remote that breaks leaves the way down unfinished: only the server's next byte shows it.
  remote.on('error', breakUp);
  remote.on('close', () => {
    if (!upOver) breakUp();
    local.resume();
  });

  return { truncated: breakUp, destroy, done };
}
