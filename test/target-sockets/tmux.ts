// A terminal for programs that need one: a tmux server of the test, whose screen is read with capture-pane.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onPath, run, waitFor } from '../real/index.ts';

export interface Tmux {
  /** Opens a window that runs the shell command `command` with `env`. Returns the id of the window. */
  open(command: string, env: Readonly<Record<string, string>>): Promise<string>;
  /** Types `text`, or presses the key with the name `key` (`Enter`, `C-b`). */
  type(window: string, text: string): Promise<void>;
  key(window: string, key: string): Promise<void>;
  screen(window: string): Promise<string>;
  /** Waits until the screen shows `pattern`; rejects with the screen. */
  shows(window: string, pattern: RegExp, ms?: number): Promise<string>;
  /** Presses `key` until the screen shows `pattern`: a busy program may ignore a key. */
  keyUntil(window: string, key: string, pattern: RegExp): Promise<void>;
  stop(): Promise<void>;
}

export function hasTmux(): boolean {
  return onPath('tmux') !== undefined;
}

export async function startTmux(): Promise<Tmux> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-tmux-'));
  const base = { PATH: process.env['PATH'] ?? '', HOME: folder, TERM: 'xterm-256color', LANG: 'C.UTF-8' };
  const tmux = async (...args: string[]): Promise<string> => {
    const ran = await run('tmux', ['-S', join(folder, 's'), '-f', '/dev/null', ...args], base);
    if (ran.status !== 0) throw new Error(`tmux ${args.join(' ')}: ${ran.stderr}`);
    return ran.stdout;
  };
  // The tmux server exits with its last window, so one window stays open.
  await tmux('new-session', '-d', '-x', '100', '-y', '30', 'cat');
  const screen = (window: string): Promise<string> => tmux('capture-pane', '-p', '-t', window);
  const press = async (window: string, key: string): Promise<void> => {
    await tmux('send-keys', '-t', window, key);
  };
  const shows: Tmux['shows'] = async (window, pattern, ms) => {
    let last = '';
    try {
      await waitFor(
        String(pattern),
        async () => {
          last = await screen(window);
          return pattern.test(last);
        },
        ms,
      );
    } catch (error) {
      throw new Error(`the screen does not show ${String(pattern)}:\n${last}`, { cause: error });
    }
    return last;
  };
  return {
    open: async (command, env) => {
      const variables = Object.entries(env).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
      const id = await tmux('new-window', '-d', '-P', '-F', '#{window_id}', ...variables, command);
      return id.trim();
    },
    type: async (window, text) => {
      await tmux('send-keys', '-l', '-t', window, text);
    },
    key: press,
    screen,
    shows,
    keyUntil: (window, key, pattern) =>
      waitFor(`${key} to have its effect`, async () => {
        await press(window, key);
        return shows(window, pattern, 2000).then(
          () => true,
          () => false,
        );
      }),
    stop: async () => {
      await tmux('kill-server').catch(() => undefined);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
