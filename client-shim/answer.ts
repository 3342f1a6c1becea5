// What the daemon's HTTP answers mean: their status, headers and body.
import { Failure } from '../daemon/base/failure.ts';
import type { StreamEnd, StreamInfo, Waiting } from '../daemon/api/answers.ts';
import { isStreamEnd } from '../daemon/api/stream-end.ts';
import { list, number, object, oneOf, optional, text, truth, word } from '../daemon/api/shape.ts';
import { WAITING_HEADER } from '../daemon/api/upgrade.ts';
import { fail } from '../daemon/errors/fail.ts';
import { failureIn } from '../daemon/errors/problem.ts';
import type { AnswerHead } from './answer-head.ts';

const isStreamInfo = object<StreamInfo>({
  id: text,
  target: text,
  transport: word(),
  epoch: oneOf(3, 4),
  negotiated: object({ revision: number, capabilities: list(text) }),
  warm: truth,
  warnings: list(text),
});

const isWaiting = object<Waiting>({
  step: word(),
  sinceMs: number,
  target: optional(text),
  transport: optional(word()),
});

/** An interim answer precedes the answer on the same connection. */
export function isInterim({ status }: AnswerHead): boolean {
  return status >= 100 && status < 200 && status !== 101;
}

/** What an interim answer says; undefined when it says nothing that is known here. */
export function waitingIn({ headers }: AnswerHead): Waiting | undefined {
  const waiting = parsed(headers[WAITING_HEADER.toLowerCase()] ?? '');
  return isWaiting(waiting) ? waiting : undefined;
}

/** What a 101 says about its stream; `daemon_foreign` when it says nothing, `version_mismatch` when it says it in another form. */
export function infoIn(answer: AnswerHead, socketPath: string): StreamInfo | Failure {
  const info = parsed(answer.headers['bmux-stream'] ?? '');
  if (isStreamInfo(info)) return info;
  if (typeof info !== 'object' || info === null)
    return fail('daemon_foreign', { socket: socketPath, why: 'its answer has no Bmux-Stream' });
  return fail('version_mismatch', { own: 'this program', other: 'a bmuxd of another version' });
}

/** The answer about the end of a stream; undefined when it is another one. */
export function endIn(answer: AnswerHead): StreamEnd | undefined {
  const end = parsed(answer.rest);
  return answer.status === 200 && isStreamEnd(end) ? end : undefined;
}

/** The fields of a JSON body; none when it is not an object. */
export function fieldsIn({ rest }: AnswerHead): Readonly<Record<string, unknown>> {
  const body = parsed(rest);
  return typeof body === 'object' && body !== null ? { ...body } : {};
}

/** The failure for an answer with any other status. */
export function refusalIn(answer: AnswerHead, socketPath: string): Failure {
  if (answer.status === 204) return fail('nothing_there', {});
  const data = failureIn(parsed(answer.rest), answer.status);
  if (data !== undefined) return new Failure(data);
  const why = `it answers with HTTP status ${String(answer.status)}`;
  return fail('daemon_foreign', { socket: socketPath, why });
}

function parsed(bytes: Buffer | string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
