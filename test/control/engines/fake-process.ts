// A fake process of an engine. It records what control sends, and a test decides what it sends.
import { EventEmitter } from 'node:events';
import type { Serializable } from 'node:child_process';
import type { EngineProcess } from '../../../daemon/control/engines/engine-link.ts';
import type { FromEngine, OneToEngine, ToEngine } from '../../../daemon/engine-protocol/messages.ts';

/** Beyond the ids of real processes. */
export const FIRST_PID = 5_000_000;

export class FakeProcess extends EventEmitter {
  readonly sent: { readonly message: ToEngine; readonly handle: unknown }[] = [];
  pid: number | undefined;
  connected = true;
  killed = false;
  released = false;

  constructor(pid: number | undefined = FIRST_PID) {
    super();
    this.pid = pid;
  }

  /** As `ChildProcess.send`. */
  send(message: Serializable, ...rest: unknown[]): boolean {
    const [handle] = rest;
    this.sent.push({
      message: message as ToEngine,
      handle: typeof handle === 'function' ? undefined : handle,
    });
    return true;
  }

  kill(): boolean {
    this.killed = true;
    return true;
  }

  disconnect(): void {
    this.connected = false;
  }

  unref(): void {
    this.released = true;
  }

  /** Sends a message of the engine to control. */
  says(message: FromEngine): void {
    this.emit('message', message);
  }

  /** Ends the process, and then closes its channel. */
  exits(status: number | null, signal: NodeJS.Signals | null = null): void {
    this.emit('exit', status, signal);
    this.connected = false;
    this.emit('disconnect');
  }

  /** Messages of one type that control has sent. */
  told<T extends OneToEngine['type']>(type: T): Extract<OneToEngine, { readonly type: T }>[] {
    return this.sent
      .flatMap(({ message }) => (message.type === 'batch' ? message.messages : [message]))
      .filter((message): message is Extract<OneToEngine, { readonly type: T }> => message.type === type);
  }

  /** Typed as a real process. */
  get process(): EngineProcess {
    return this as unknown as EngineProcess;
  }
}
