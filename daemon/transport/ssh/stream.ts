// A stream of a bridge: stdin and stdout of a session of ssh as one Duplex (docs/stream-ends.md).
import { Duplex, type Readable, type Writable } from 'node:stream';
import { inTime, onSilence } from '../../base/async/deadline.ts';
import { errnoOf } from '../../base/failure.ts';
import { judgeEnd, type Unproven } from '../../base/streams/judge-end.ts';
import { LIMITS } from '../../base/limits.ts';
import { fail } from '../../errors/fail.ts';
import { bridgeFailure, SshEnd } from './failures.ts';
import type { SshProcess } from './process.ts';
import type { Watched } from './watch.ts';
import type { SshRoute } from '../../engine-protocol/plan.ts';

type Done = (error?: Error | null) => void;

export interface SshStreamOptions {
  readonly session: SshProcess;
  readonly route: SshRoute;
  readonly label: string;
  /** What the master of the session said last, when it has ended. */
  readonly lastLine: () => string | undefined;
}

export interface OpenedSsh {
  readonly stream: SshStream;
  /** False when a login had to be made first. */
  readonly warm: boolean;
}

/**
 * `end()` ends the bridge's stdin, on which it ends its connection to the server. A destroyed stream ends the session, which does the same. The
 * end of stdout is judged by the exit status of the bridge.
 */
export class SshStream extends Duplex implements Watched {
  heardAt = Date.now();
  readonly #options: SshStreamOptions;
  readonly #stdin: Writable;
  readonly #stdout: Readable;
  #hasFirst = false;
  /** The bridge reads no more: what is written is dropped, and the exit status tells why. */
  #isDeaf = false;
  #hasServerEnded = false;
  /** Its session has exited, and nobody else ends stdout. */
  #isLeft = false;
  #stopWaiting = (): void => undefined;
  readonly #judgeNow: () => boolean;

  constructor(options: SshStreamOptions) {
    super({ allowHalfOpen: true });
    this.#options = options;
    const { stdin, stdout } = options.session;
    if (stdin === null || stdout === null)
      throw fail('internal', { why: 'a session without stdin or stdout' });
    this.#stdin = stdin;
    this.#stdout = stdout;
    // This listener keeps an error from ending the process while no owner listens; 'close' follows it.
    this.on('error', () => undefined);
    stdout.on('data', (chunk: Buffer) => {
      this.heardAt = Date.now();
      options.session.waitsSince = undefined;
      this.#waitForEnd();
      if (!this.#hasFirst && !this.#isProtocol(chunk)) return;
      if (this.push(chunk)) return;
      stdout.pause();
      this.#stopWaiting();
    });
    this.#judgeNow = judgeEnd(this, () => this.#judge());
    for (const event of ['end', 'error']) stdout.once(event, () => this.push(null));
    stdout.pause();
    void options.session.exited.then(() => {
      // Writes that wait get no answer any more.
      this.#isDeaf = true;
      stdin.destroy();
      this.#waitForEnd();
    });
  }

  override _read(): void {
    this.#stdout.resume();
    this.#waitForEnd();
  }

  /** The master of a session holds its stdout, too. One that is stopped or hangs leaves it open when the session has exited. */
  #waitForEnd(): void {
    this.#stopWaiting();
    const { exit } = this.#options.session;
    if (exit === undefined || this.#stdout.isPaused() || this.#stdout.readableEnded) return;
    this.#stopWaiting = onSilence(LIMITS.sshLeftMs, () => {
      this.#isLeft = true;
      this.#judgeNow();
    });
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    if (this.#isDeaf) {
      done();
      return;
    }
    this.#options.session.waitsSince ??= Date.now();
    this.#stdin.write(chunk, this.#written(done));
  }

  override _writev(queued: { chunk: Buffer; encoding: BufferEncoding }[], done: Done): void {
    if (this.#isDeaf || queued.length === 0) {
      done();
      return;
    }
    this.#options.session.waitsSince ??= Date.now();
    this.#stdin.cork();
    for (const [index, { chunk }] of queued.entries())
      this.#stdin.write(chunk, index === queued.length - 1 ? this.#written(done) : () => undefined);
    this.#stdin.uncork();
  }

  override _final(done: Done): void {
    if (this.#isDeaf || this.#stdin.destroyed) done();
    else
      this.#stdin.end(() => {
        done();
      });
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#stopWaiting();
    this.#stdin.destroy();
    this.#stdout.destroy();
    void this.#options.session.end();
    done(error);
  }

  /** The server is known to have ended. The bridge hands over what it has of it, and then ends as well. */
  serverEnded(): void {
    this.#hasServerEnded = true;
    this.#isDeaf = true;
    this.#stdin.end();
  }

  /** A bridge that reads no more has ended, or will. What it has sent is still to be read. */
  #written(done: Done): Done {
    return (error) => {
      const code = errnoOf(error);
      if (error && !this.#isDeaf && code !== 'EPIPE' && code !== 'ECONNRESET') {
        done(error);
        return;
      }
      if (error) this.#isDeaf = true;
      done();
    };
  }

  /** The first four bytes of a frame are its length, at most 8 MiB, little-endian: the last one is 0. A shell prints text. */
  #isProtocol(chunk: Buffer): boolean {
    this.#hasFirst = true;
    if (chunk.length < 4 || chunk[3] === 0) return true;
    const [line = ''] = chunk
      .toString('utf8')
      .split('\n')
      .filter((text) => text.trim() !== '');
    const { label } = this.#options;
    this.destroy(new SshEnd(fail('ssh_shell_prints', { label, line: JSON.stringify(line.slice(0, 200)) })));
    return false;
  }

  /** stdout ends just before the exit. A bridge that has closed only its stdout serves no client. */
  async #judge(): Promise<Unproven> {
    const { session, route, label, lastLine } = this.#options;
    const late = (): Error => new SshEnd(fail('ssh_lost', { label }));
    const exit = await inTime(session.exited, LIMITS.endMs, late);
    if (this.#hasServerEnded) return new SshEnd(fail('ssh_server_ended', { label }));
    const { words } = session;
    const last =
      lastLine() ?? (this.#isLeft ? 'its ssh has exited, and the master does not answer' : undefined);
    if (words.lines.length === 0 && last !== undefined) words.push(`${last}\n`);
    if (this.#isLeft) return new SshEnd(fail('ssh_lost', { label }, words.asCause()));
    return bridgeFailure(route, label, { words, exit });
  }
}
