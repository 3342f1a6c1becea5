// The engine's end of the IPC channel to control. In production it is Node's `process` (daemon/bin/engine.ts); tests pass their own.
import type { FromEngine } from '../../engine-protocol/messages.ts';

export interface Channel {
  /** False when the channel is closed, which means that control is gone. */
  isOpen(): boolean;
  /** Calls `sent` with null when the message has been written, or with the error when it could not be. */
  send(message: FromEngine, sent: (error: Error | null) => void): void;
  onMessage(listener: (message: unknown, handle: unknown) => void): void;
  onGone(listener: () => void): void;
  /** Ends the process with this exit status. */
  exit(status: number): void;
}
