// The two copies of a real gateway between a remote stream and a server connection, with their flaws. A copy that breaks forwards no end, and
// both sides close only when both copies have ended (docs/bmux-protocol.md, "How a refusal arrives" and "Connection limit"; measured).
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** Stands for a missing server: real gateways notice it only after their own handshake. */
export type Outcome = 'served' | 'no-server';

export interface GatewayCopy {
  /** Reports that the remote side ended improperly (no close_notify, or a reset). The copy to the server stops, and no end is forwarded. */
  truncated(): void;
  /** Ends both sides at once. */
  destroy(): void;
  /** Resolves when both sides are closed. */
  readonly done: Promise<Outcome>;
}

export interface GatewayCopyOptions {
  readonly remote: Duplex;
  readonly socketPath: string;
  /** Closes the remote side after the end of both copies; it may still be half-open. */
  readonly drop: () => void;
  /** False (as in real gateways): a broken remote leaves its server connection open. True: it ends it. */
  readonly forgiving: boolean;
  /** Whether the client sees an end when the server resets (it closed with unread bytes); otherwise the client sees nothing. */
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

  // Up: from the remote to the server.
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

  // Down: from the server to the remote.
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
    // Data that has already arrived from the remote cannot be written any more; the next byte causes the error.
    remote.resume();
  });
  // A broken remote does not end the copy down: only the server's next byte does.
  remote.on('error', breakUp);
  remote.on('close', () => {
    if (!upOver) breakUp();
    local.resume();
  });

  return { truncated: breakUp, destroy, done };
}
