// Sends a request of the real CLI through a program that bridges its stdin and stdout.
import { spawn } from 'node:child_process';
import { Duplex } from 'node:stream';
import { decodeEnvelope } from '../../daemon/bmux-ipc/ipc.ts';
import { FrameReader } from '../../daemon/bmux-ipc/frame.ts';
import type { Question } from '../../test/real/index.ts';

/** ms for the whole program. */
const LIMIT_MS = 20_000;

/** ms of a program that bridges stdin and stdout: from the spawn to its exit after the last answer, as for a command. */
export function askByProcess(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  question: Question,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
    const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
    const reader = new FrameReader();
    let asked = 0;
    let problem = '';
    const askNext = (): void => {
      const frame = question[asked++];
      if (frame === undefined) child.stdin.end();
      else child.stdin.write(frame);
    };
    child.stdin.on('error', () => undefined); // its exit reports the error
    child.stderr.on('data', (chunk: Buffer) => {
      problem += chunk.toString('utf8');
    });
    child.stdout.on('data', (chunk: Buffer) => {
      reader.push(chunk);
      for (let payload = reader.next(); payload !== undefined; payload = reader.next())
        if (decodeEnvelope(payload).kind === 'response') askNext();
    });
    child.once('error', reject);
    child.once('exit', (status, signal) => {
      clearTimeout(timer);
      if (status === 0 && asked > question.length) resolve(performance.now() - start);
      else reject(new Error(`the process left with ${String(status ?? signal)}: ${problem.trim()}`));
    });
    askNext();
  });
}

/** stdin and stdout of such a program as one stream. */
export function bridgeOf(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Duplex {
  const { stdin, stdout } = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'ignore'] });
  return Duplex.from({ readable: stdout, writable: stdin });
}
