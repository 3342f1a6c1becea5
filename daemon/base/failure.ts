// The type of every failure that a user sees: a code of the registry (daemon/errors/registry.ts) and its texts.

/** The classes of failures, and what each means. Every failure has one. */
export const ERROR_CLASSES = {
  offline: 'this machine has no network',
  relay: 'the relay of an iroh host cannot be used',
  dns: 'a host name leads nowhere',
  refused: 'nobody listens at the address',
  timeout: 'no answer in time',
  tls_trust: 'the certificate of a gateway, or what it is verified against',
  auth: 'a key, a sign-in or a permission',
  epoch: 'the server speaks another generation of the protocol, or another protocol',
  policy: "bmux's policies forbid it",
  full: 'a limit of connections or requests is reached',
  server_gone: 'the server, or the connection to it, does not work',
  engine: 'bmuxd itself',
  request: 'the request, the configuration or a file of the user',
} as const;

export type ErrorClass = keyof typeof ERROR_CLASSES;

/** A failure as plain data, for passing between processes. `detail` is the user-visible text, word for word. */
export interface FailureData {
  /** Stable code from the registry; never reused for another meaning. */
  readonly code: string;
  /** Missing in what a bmuxd of an older version says. */
  readonly class?: ErrorClass;
  /** What happened, with its values. The texts of its causes are in `causes`. */
  readonly detail: string;
  /** What to do about it, one sentence or command. */
  readonly remedy: string;
  /** Exit status of a bmuxd command that fails with it (docs/bmux-protocol.md, "Exit statuses"). */
  readonly exitStatus: number;
  /** HTTP status of an answer with this failure. */
  readonly status: number;
  /** Texts of the causes, outermost first. */
  readonly causes: readonly string[];
  /** Warnings for the user, the same as for an opened stream: a stale build, a misspelt target. */
  readonly warnings?: readonly string[];
}

/** The only error class for errors that a user sees. Created by `fail` (daemon/errors/fail.ts), never directly. */
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

/** An error of OpenSSL: thread, number, library, function, reason, file and line. Only the reason is for users. */
const OPENSSL = /^[\dA-F]+:error:[\dA-F]+:[^:]*:[^:]*:([^:]+):/;
/** What OpenSSL says of the first bytes of another protocol. */
const NO_TLS = 'wrong version number';

/** The first line of any thrown value's text, because some libraries put a backtrace into `message`. */
export function textOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const line = text.split('\n', 1)[0] ?? '';
  const reason = OPENSSL.exec(line)?.[1];
  if (reason === undefined) return line;
  return reason === NO_TLS ? `the answer is not TLS (${reason})` : `OpenSSL: ${reason}`;
}

/** The `code` of a Node system error (`ECONNREFUSED`), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Errors of a connect when no process listens: no file or folder, a socket without a listener, or a file that is no socket. */
const NOBODY: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ENOTDIR', 'ECONNREFUSED', 'ENOTSOCK']);

/** Whether a connect has found that no process listens. After any other error it is not known. */
export function isNobody(error: unknown): boolean {
  return NOBODY.has(errnoOf(error));
}

/** Whether this process or the machine has no more file descriptors. It tells nothing of the file or socket that was asked for. */
export function isOutOfFiles(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === 'EMFILE' || errno === 'ENFILE';
}

/** The texts of an error and its causes, outermost first. At most 8, because a cause chain can be a loop. */
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
