// Sends one HTTP request over a Unix socket, with limits for time and size. Control asks engines with it, and commands ask control.
import { request, type IncomingHttpHeaders } from 'node:http';
import { socketProblem } from '../api/socket-path.ts';
import { onSilence } from '../base/async/deadline.ts';
import { Failure, isOutOfFiles, textOf } from '../base/failure.ts';
import { asFailure, fail } from '../errors/fail.ts';
import { LIMITS } from '../base/limits.ts';

/** bmuxd sends no answer larger than this: 10,000 stream rows take about 4 MB. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

export interface Question {
  readonly socketPath: string;
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** ms for the whole exchange. */
  readonly timeoutMs: number;
  /** Ends the exchange. */
  readonly signal?: AbortSignal | undefined;
}

export interface SocketAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Parsed JSON; undefined when the answer is not JSON. */
  readonly body: unknown;
}

/** Thrown by `httpRequest` when no answer came in time. */
export class NoAnswer extends Error {
  constructor(ms: number) {
    super(`no answer within ${String(ms)} ms`);
    this.name = 'NoAnswer';
  }
}

/**
 * Rejects with the system's error (ENOENT or ECONNREFUSED when no process listens), with `path_insecure`, with `NoAnswer`, or with an
 * AbortError when `signal` aborts.
 */
export function httpRequest({
  socketPath,
  method,
  path,
  headers,
  timeoutMs,
  signal,
}: Question): Promise<SocketAnswer> {
  const problem = socketProblem(socketPath);
  if (problem !== undefined) return Promise.reject(problem);
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => {
      answered();
      call.destroy();
      reject(error);
    };
    const to = { socketPath, method, path, headers: { ...headers }, agent: false };
    const call = request({ ...to, ...(signal === undefined ? {} : { signal }) }, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('error', failed);
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_ANSWER_BYTES) failed(new Error('the answer is too large'));
        else chunks.push(chunk);
      });
      response.on('end', () => {
        answered();
        const { statusCode = 0, headers } = response;
        resolve({ status: statusCode, headers, body: parsed(Buffer.concat(chunks).toString('utf8')) });
      });
    });
    const answered = onSilence(timeoutMs, () => {
      failed(new NoAnswer(timeoutMs));
    });
    call.on('error', failed);
    call.end();
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Whether `engineRequest` failed because no answer came. The engine is there, but busy, stopped or hung. */
export function isSilence(error: unknown): boolean {
  return error instanceof Error && error.cause instanceof NoAnswer;
}

/** Whether `engineRequest` failed because this process has no more descriptors. That tells nothing of the engine. */
export function isLack(error: unknown): error is Failure {
  return error instanceof Failure && error.code === 'files_exhausted';
}

/** Sends one request to an engine. Rejects with `engine_unavailable`, or with `files_exhausted`. */
export async function engineRequest(
  socketPath: string,
  method: Question['method'],
  path: string,
  timeoutMs: number = LIMITS.engineAnswerMs,
): Promise<SocketAnswer> {
  try {
    return await httpRequest({ socketPath, method, path, timeoutMs });
  } catch (error) {
    if (error instanceof Failure || isOutOfFiles(error)) throw asFailure(error);
    throw fail('engine_unavailable', { why: textOf(error) }, error);
  }
}
