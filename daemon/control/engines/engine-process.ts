// The process of an engine: what it is started with.
import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { SMALL_HEAP_FLAGS } from '../../base/memory.ts';
import type { Env } from '../../base/paths.ts';

/** What an engine's environment has beside the daemon's, where that says nothing else. */
const ENGINE_ENV = {
  // Names are looked up on these threads, and files read: a few lookups that hang must not hold up the rest. Node's default is 4.
  UV_THREADPOOL_SIZE: '8',
  // The binding's threads come and go with memory of their own each, which glibc keeps: mallopt(3), M_ARENA_MAX.
  MALLOC_ARENA_MAX: '2',
} as const;

/** MB of each half of the new space. With V8's own 16 a process takes 15 MB more for the same work; with 2 a hand-off takes 6 % more of the processor [measured]. */
const ENGINE_FLAGS = ['--max-semi-space-size=8', ...SMALL_HEAP_FLAGS];

/**
 * Starts one; it waits for its `start` message. `env`: the daemon's own; `stderr`: a file for what V8 or the system says at a sudden end.
 * Throws, or emits 'error', when the system cannot start a process.
 */
export function forkEngine(env: Env, stderr: number | 'ignore'): ChildProcess {
  const program = fileURLToPath(new URL('../../bin/engine.js', import.meta.url));
  return fork(program, [], {
    // A session of its own: a terminal's end or a Ctrl-C reaches control only, and the engine's streams live on.
    detached: true,
    stdio: ['ignore', 'ignore', stderr, 'ipc'],
    // Of two that are the same the last one counts.
    execArgv: [...process.execArgv, ...ENGINE_FLAGS],
    cwd: '/',
    env: { ...ENGINE_ENV, ...env },
  });
}
