// An engine's process at the edge of the machine: what control sends it, and what it says.
import { EventEmitter } from 'node:events';
import type { Serializable } from 'node:child_process';
import type { EngineProcess } from '../../../daemon/control/engines/engine-link.ts';
import type { FromEngine, OneToEngine, ToEngine } from '../../../daemon/engine-protocol/messages.ts';

export class FakeProcess extends EventEmitter {
  readonly sent: { readonly message: ToEngine; readonly handle: unknown }[] = [];
  pid: number | undefined;
  connected = true;
  killed = false;
  released = false;

  constructor(pid: number | undefined = 1000) {
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

  /** The engine says something. */
  says(message: FromEngine): void {
    this.emit('message', message);
  }

  /** Its process ends; its channel closes after that. */
  exits(status: number | null, signal: NodeJS.Signals | null = null): void {
    this.emit('exit', status, signal);
    this.connected = false;
    this.emit('disconnect');
  }

  /** Messages of one type that were sent to it. */
  told<T extends OneToEngine['type']>(type: T): Extract<OneToEngine, { readonly type: T }>[] {
    return this.sent
      .flatMap(({ message }) => (message.type === 'batch' ? message.messages : [message]))
      .filter((message): message is Extract<OneToEngine, { readonly type: T }> => message.type === type);
  }

  /** For who wants a process. */
  get process(): EngineProcess {
    return this as unknown as EngineProcess;
  }
}
