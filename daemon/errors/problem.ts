// RFC 9457 problem details: the JSON form of a failure in an HTTP answer.
import { ERROR_CLASSES, type ErrorClass, type FailureData } from '../base/failure.ts';
import { classOf } from './error-class.ts';

export const PROBLEM_TYPE = 'application/problem+json';

/** The JSON body of a refusal. `detail` is bmux's text where bmux has one, word for word (docs/bmux-protocol.md, "Error texts"). */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: string;
  /** One of `ERROR_CLASSES`. */
  readonly class: ErrorClass;
  readonly detail: string;
  readonly remedy: string;
  readonly exitStatus: number;
  readonly causes: readonly string[];
  readonly warnings?: readonly string[];
  /** Id of the request, as in the log. */
  readonly requestId?: string;
}

/** The body of an HTTP answer with this failure. */
export function problemOf(data: FailureData, requestId?: string): Problem {
  return {
    type: `urn:bmuxd:problem:${data.code}`,
    title: data.code.replaceAll('_', ' '),
    status: data.status,
    code: data.code,
    class: classOf(data),
    detail: data.detail,
    remedy: data.remedy,
    exitStatus: data.exitStatus,
    causes: data.causes,
    ...(data.warnings === undefined || data.warnings.length === 0 ? {} : { warnings: data.warnings }),
    ...(requestId === undefined ? {} : { requestId }),
  };
}

/** Reads the failure from the body of a refusal; undefined if bmuxd did not write it. `status`: HTTP status of the answer. */
export function failureIn(body: unknown, status: number): FailureData | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const fields = new Map<string, unknown>(Object.entries(body));
  const text = (name: string): string => {
    const value = fields.get(name);
    return typeof value === 'string' ? value : '';
  };
  const code = text('code');
  const exitStatus = fields.get('exitStatus');
  const texts = (name: string): string[] => {
    const value = fields.get(name);
    return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];
  };
  if (code === '' || typeof exitStatus !== 'number') return undefined;
  const kind = text('class');
  return {
    code,
    ...(isErrorClass(kind) ? { class: kind } : {}),
    detail: text('detail'),
    remedy: text('remedy'),
    exitStatus,
    status,
    causes: texts('causes'),
    warnings: texts('warnings'),
  };
}

function isErrorClass(text: string): text is ErrorClass {
  return Object.hasOwn(ERROR_CLASSES, text);
}
