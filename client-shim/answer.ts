// Reads the daemon's answer to an upgrade: the head of an HTTP answer, and what it means.
import { Failure } from '../daemon/base/failure.ts';
import type { StreamEnd, StreamInfo } from '../daemon/api/answers.ts';
import { fail } from '../daemon/errors/fail.ts';
import { failureIn } from '../daemon/errors/problem.ts';

/** An HTTP answer whose head is whole. */
export interface Answer {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  /** What came after the head. */
  readonly rest: Buffer;
  /** True when `rest` holds the whole body. */
  readonly complete: boolean;
}

/** The answer that begins `bytes`; undefined while its head is not whole. */
export function readAnswer(bytes: Buffer): Answer | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(first)?.[1] ?? 0);
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon > 0) headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const rest = bytes.subarray(end + 4);
  return { status, headers, rest, complete: rest.length >= Number(headers['content-length'] ?? 0) };
}

/** What a 101 says about its stream; undefined when it says nothing that can be read. */
export function infoIn(answer: Answer): StreamInfo | undefined {
  try {
    const info: unknown = JSON.parse(answer.headers['bmux-stream'] ?? '');
    // The daemon's own answer: its shape is that of daemon/api/answers.ts.
    return typeof info === 'object' && info !== null && 'id' in info ? (info as StreamInfo) : undefined;
  } catch {
    return undefined;
  }
}

/** What an engine says of the end of a stream; nothing when that cannot be read. */
export function endIn({ rest }: Answer): Pick<StreamEnd, 'lost'> {
  const end = parsed(rest);
  const lost = typeof end === 'object' && end !== null && 'lost' in end ? end.lost : undefined;
  return typeof lost === 'string' ? { lost } : {};
}

/** The fields of a JSON body; none when it is no object. */
export function fieldsIn({ rest }: Answer): Readonly<Record<string, unknown>> {
  const body = parsed(rest);
  return typeof body === 'object' && body !== null ? { ...body } : {};
}

/** The failure that any other answer stands for. */
export function refusalIn(answer: Answer, socketPath: string): Failure {
  if (answer.status === 204) return fail('nothing_there', {});
  const data = failureIn(parsed(answer.rest), answer.status);
  if (data !== undefined) return new Failure(data);
  const why = `it answers with HTTP status ${String(answer.status)}`;
  return fail('daemon_foreign', { socket: socketPath, why });
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
