// The engine's end of the channel to control; `process` in the entry point.
import type { FromEngine } from '../engine-protocol/messages.ts';

export interface Channel {
  /** False when control is gone. */
  isOpen(): boolean;
  /** `sent` is called when the message has left, or with why it could not. */
  send(message: FromEngine, sent: (error: Error | null) => void): void;
  onMessage(listener: (message: unknown, handle: unknown) => void): void;
  onGone(listener: () => void): void;
  /** Lets the process end. */
  exit(status: number): void;
}
