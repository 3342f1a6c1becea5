// Another host: a network namespace, and the way to it, which can be cut.
import { execFile } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Test } from 'tap';

const run = promisify(execFile);

export interface Far {
  /** Its address. */
  readonly host: string;
  /** What runs a program there. */
  readonly command: readonly string[];
  /** From here on it answers nothing, and the way still looks open. */
  readonly cut: () => Promise<unknown>;
  /** Forgets its hardware address, as after a minute of silence: once cut, the way to it is then told to be unreachable. */
  readonly forget: () => Promise<unknown>;
  /** Undoes `cut`. */
  readonly mend: () => Promise<unknown>;
  /** Our own address on the way to it goes, and after `awayMs` another one comes. */
  readonly move: (awayMs?: number) => Promise<unknown>;
  /** Ends all programs there. */
  readonly end: () => Promise<void>;
}

/** Makes it; undefined where this user may not. */
export async function far(t: Test): Promise<Far | undefined> {
  const id = String(process.pid);
  const name = `bmuxd-${id}`;
  // A network for measurements (RFC 2544), which no machine uses.
  const net = `198.18.${String(process.pid % 256)}`;
  const ip = (...args: string[]): Promise<unknown> => run('ip', args);
  const inside = (...args: string[]): Promise<unknown> => ip('-n', name, ...args);
  let ours = 2;
  try {
    await ip('netns', 'add', name);
    t.teardown(() => ip('netns', 'del', name));
    const [near, there] = [`bn${id}`, `bf${id}`];
    await ip('link', 'add', near, 'type', 'veth', 'peer', 'name', there, 'netns', name);
    // The namespace may stay for the ends of its connections, and would keep this.
    t.teardown(() => ip('link', 'del', near));
    await ip('addr', 'add', `${net}.1/29`, 'dev', near);
    await ip('link', 'set', near, 'up');
    const mend = (): Promise<unknown> => inside('addr', 'add', `${net}.2/29`, 'dev', there);
    await mend();
    await inside('link', 'set', there, 'up');
    const command = ['ip', 'netns', 'exec', name];
    const end = async (): Promise<void> => {
      const { stdout } = await run('ip', ['netns', 'pids', name]);
      for (const pid of stdout.match(/\d+/g) ?? []) process.kill(Number(pid), 'SIGKILL');
    };
    return {
      host: `${net}.2`,
      command,
      cut: () => inside('addr', 'flush', 'dev', there),
      forget: () => ip('neigh', 'flush', 'dev', near),
      mend,
      move: async (awayMs = 0) => {
        await ip('addr', 'flush', 'dev', near);
        await pause(awayMs);
        ours += 1;
        await ip('addr', 'add', `${net}.${String(ours)}/29`, 'dev', near);
      },
      end,
    };
  } catch (error) {
    t.comment(String(error));
    return undefined;
  }
}
