// Runs the real bmux in its own folders, to compare its texts and files with ours.
import { execFile } from 'node:child_process';
import { join } from 'node:path';

/** The variables that confine a bmux to `dir`. */
export function enclosed(dir: string): Record<string, string> {
  return {
    HOME: dir,
    BMUX_RUNTIME_DIR: join(dir, 'run'),
    BMUX_CONFIG_DIR: join(dir, 'config'),
    BMUX_DATA_DIR: join(dir, 'data'),
    BMUX_STATE_DIR: join(dir, 'state'),
    BMUX_LOG_DIR: join(dir, 'log'),
  };
}

/** Runs one command to its end, at most 30 s. `stderr` does not include INFO lines. */
export function runBmux(
  bmux: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((done) => {
    execFile(
      bmux,
      args,
      { env: { ...env, PATH: process.env['PATH'] }, timeout: 60_000 },
      (error, stdout, stderr) => {
        const code = typeof error?.code === 'number' ? error.code : error === null ? 0 : -1;
        const lines = stderr.split('\n').filter((line) => !/\bINFO\b/.test(line));
        done({ code, stdout, stderr: lines.join('\n') });
      },
    );
  });
}
