// stdout and stderr of one command line of `bmuxd`: failed writes, a terminal that goes away, the end. It imports little, since `bmuxd status`
// needs it before the rest of the program is loaded.
import { closeSync, fstatSync, openSync } from 'node:fs';
import { errnoOf } from '../base/failure.ts';
import { keepBlocking, pipeAgain } from '../base/node-internals.ts';
import type { Stderr } from '../cli/command.ts';

/** The number of /dev/null on Linux. */
const NULL_DEVICE = 0x103;
/** ms after the end of the daemon in which refused clients may still read their answers. */
const LAST_MS = 250;

export class Output {
  readonly #isDaemon: boolean;
  #stderr: Stderr | undefined;
  #unwritten = false;

  /** Prepares stdout. `isDaemon`: it does not wait for a reader of its log. */
  constructor(isDaemon: boolean) {
    this.#isDaemon = isDaemon;
    // The terminal may be closed while the daemon runs.
    process.on('exit', rememberTerminal());
    keepBlocking(process.stdout);
    // EPIPE is no error: the reader has exited, as in `bmuxd streams | head`. Any other failed write is one, for example on a full disk.
    process.stdout.on('error', (error: Error) => {
      if (errnoOf(error) === 'EPIPE') return;
      this.stderr.write(`bmuxd: cannot write the output: ${error.message}\n`);
      process.exitCode = 1;
      this.#unwritten = true;
    });
  }

  /** stderr, prepared at its first use: Node takes a while to make it. */
  get stderr(): Stderr {
    if (this.#stderr === undefined) {
      const log = this.#isDaemon ? logPipe() : undefined;
      this.#stderr = log ?? process.stderr;
      // Node makes `process.stderr` also by itself, as soon as a socket is closed.
      if (!this.#isDaemon || log !== undefined) keepBlocking(process.stderr);
      this.#stderr.on('error', () => undefined);
    }
    return this.#stderr;
  }

  /** Sets the exit status, unless a write has failed, and exits when all is written. */
  end(status: number): void {
    if (!this.#unwritten) process.exitCode = status;
    // The daemon has removed its sockets. Refused clients and timers of packages may still keep the process running, so it exits after
    // `LAST_MS`. The other commands have no such timeout: they end when their output has been written.
    if (this.#isDaemon) setTimeout(() => process.exit(), LAST_MS).unref();
    else
      setImmediate(() => {
        this.#exitWhenWritten();
      });
  }

  /** Node frees its heap at an end by itself, and not at an exit. A failed write is told before the turn of the event loop in which this is called. */
  #exitWhenWritten(): void {
    if (process.stdout.writableLength + (this.#stderr?.writableLength ?? 0) === 0) process.exit();
  }
}

/**
 * Where the daemon writes its log when stderr is a pipe. The daemon must not wait for the reader, and other processes may write to the same pipe
 * and expect to wait. So the pipe is opened again. Undefined where it cannot be: the daemon then uses the description that it shares, and Node
 * makes it blocking again at the end.
 */
function logPipe(): Stderr | undefined {
  const fd = pipeAgain(2);
  if (fd === undefined) return undefined;
  const { Socket } = process.getBuiltinModule('node:net');
  return Object.assign(new Socket({ fd, readable: false, writable: true }), { fd });
}

/**
 * Node restores the terminal settings at exit, and aborts with SIGABRT when the terminal no longer exists.
 *
 * Records which of the descriptors 0 to 2 are terminals. The returned function replaces those that have ceased to be terminals by /dev/null.
 * Call it at exit.
 */
function rememberTerminal(): () => void {
  const terminals = [0, 1, 2].filter(isTerminal);
  return () => {
    for (const fd of terminals) {
      if (isTerminal(fd)) continue;
      try {
        closeSync(fd);
        // open(2) returns the lowest free descriptor, which is the one just closed. Node restores only the terminal it had there before.
        openSync('/dev/null', 'r+');
      } catch {
        // The descriptor is closed, so Node restores nothing on it.
      }
    }
  };
}

/** Loads `node:tty` only for a device that is not /dev/null. */
function isTerminal(fd: number): boolean {
  try {
    const info = fstatSync(fd);
    return (
      info.isCharacterDevice() && info.rdev !== NULL_DEVICE && process.getBuiltinModule('node:tty').isatty(fd)
    );
  } catch {
    return false;
  }
}
