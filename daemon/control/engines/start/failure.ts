// Reads what an engine has written to stderr before it ended: which line tells the reason, and what a user can do about it.
import { textOf, type Failure } from '../../../base/failure.ts';
import { advised, fail } from '../../../errors/fail.ts';

/** Lines that name the reason, the most telling first. Node prints source and a stack around them. */
const TELLING = [
  /^(?:\w*Error|Error)(?: \[\w+\])?: ./,
  /NODE_OPTIONS|bad option/,
  /^(?:FATAL|fatal|#) .*\w/i,
];

/** What a lack of memory, processes or files looks like. It may pass. */
const SCARCE =
  /EAGAIN|ENOMEM|EMFILE|ENFILE|uv_thread_create|pthread_create|out of memory|temporarily unavailable/i;

const OUT_OF_FILES = /EMFILE|ENFILE/;
const RAISE_FILES =
  'Raise the limit of open files (`ulimit -n`, `LimitNOFILE=` of the service) to 1024 or more.';

/** Reasons that a user can mend. */
const REMEDIES: readonly (readonly [RegExp, string])[] = [
  [/NODE_OPTIONS|internal\/preload|--require|--import/, 'Mend NODE_OPTIONS, and start bmuxd again.'],
  [OUT_OF_FILES, RAISE_FILES],
  [
    SCARCE,
    'Raise the limits of memory and processes (`ulimit -v`, `ulimit -u`, `TasksMax=` of the service). bmuxd tries again by itself.',
  ],
  [
    /Cannot find (?:module|package)|MODULE_NOT_FOUND|ERR_DLOPEN_FAILED|EACCES/,
    'Install bmuxd again with all its packages, and start it again.',
  ],
];

/** The line with the reason; empty when `stderr` is. */
export function reasonIn(stderr: string): string {
  const lines = stderr
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('Node.js v'));
  for (const telling of TELLING) {
    const found = lines.find((line) => telling.test(line));
    if (found !== undefined) return found;
  }
  return lines.at(-1) ?? '';
}

/** Whether the machine or a limit is the reason, not what the engine was started with. */
export function isScarcity(stderr: string): boolean {
  return SCARCE.test(stderr);
}

/** The failure of an engine whose process could not be started. `why`: the system's words. */
export function unstartable(why: string, cause?: unknown): Failure {
  const failure = fail('engine_unstartable', { why }, cause);
  return OUT_OF_FILES.test(why) ? advised(failure, RAISE_FILES) : failure;
}

/** The failure of an engine that was given up `ms` after its start. */
export function lateFailure(ms: number): Failure {
  const failure = fail('engine_unavailable', {
    why: `the last one was not ready ${String(Math.round(ms / 1000))} s after its start`,
  });
  return advised(
    failure,
    'Has this machine too much work, or does NODE_OPTIONS name a file that does not come to its end? bmuxd tries again by itself, with more time.',
  );
}

/** The failure of an engine that has ended. `stderr`: what it wrote; `why`: its exit status or signal. */
export function endedFailure(why: string, stderr: string): Failure {
  const reason = reasonIn(stderr);
  const failure = fail(
    'engine_unavailable',
    { why: `the last one ended with ${why}` },
    reason === '' ? undefined : new Error(textOf(reason)),
  );
  const remedy = REMEDIES.find(([pattern]) => pattern.test(stderr))?.[1];
  return remedy === undefined ? failure : advised(failure, remedy);
}
