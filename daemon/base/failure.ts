// The one shape of everything that can go wrong: a code of the registry (daemon/errors/registry.ts) and what a person reads.

/** A failure as data, the way it crosses a process boundary. `detail` is the user-visible text, word for word. */
export interface FailureData {
  /** Stable code from the registry; never reused for another meaning. */
  readonly code: string;
  /** What happened, with its values. The outermost text only; what lies under it is in `causes`. */
  readonly detail: string;
  /** What to do about it, one sentence or command. */
  readonly remedy: string;
  /** Exit status of a command of ours that ends with it (docs/bmux-protocol.md, "Exit statuses"). */
  readonly exitStatus: number;
  /** HTTP status of an answer that carries it. */
  readonly status: number;
  /** Texts of the causes, outermost first. */
  readonly causes: readonly string[];
  /** What the user should know besides, as with a stream that is granted: a stale build, a misspelt target. */
  readonly warnings?: readonly string[];
}

/** The only error that our code throws at a user. Made by `fail` (daemon/errors/fail.ts), never by hand. */
export class Failure extends Error {
  readonly data: FailureData;

  constructor(data: FailureData, cause?: unknown) {
    super(data.detail, cause === undefined ? {} : { cause });
    this.name = 'Failure';
    this.data = data;
  }

  get code(): string {
    return this.data.code;
  }
}

/** The first line of any thrown value's text: some libraries put a backtrace into `message`. */
export function textOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split('\n', 1)[0] ?? '';
}

/** The `code` of a Node system error (`ECONNREFUSED`), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** All texts of an error's cause chain, from its own cause inwards. At most 8: a chain may be a loop. */
export function causeTexts(error: unknown): string[] {
  const texts: string[] = [];
  let current: unknown = error;
  while (current !== undefined && current !== null && texts.length < 8) {
    texts.push(textOf(current));
    if (current instanceof Failure) return [...texts, ...current.data.causes].slice(0, 8);
    current = current instanceof Error ? current.cause : undefined;
  }
  return texts;
}
