// Tests that the doctor names what is wrong with the shell: sockets of another daemon, and limits.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ReportRow } from '../../../daemon/cli/doctor/row.ts';
import { BMUXD, makeSandbox, startBmuxd } from '../../daemon/bmuxd.ts';
import { run, type Ran } from '../../real/server.ts';

type Env = Readonly<Record<string, string>>;

/** Runs `bmuxd` in a shell after `before`. */
const shell = (env: Env, args: string, before = ''): Promise<Ran> =>
  run('/bin/sh', ['-c', `${before} exec "$0" "$1" ${args}`, process.execPath, BMUXD], env);

const findings = async (t: Test, ran: Promise<Ran>): Promise<string> => {
  const { stdout, status } = await ran;
  const { rows } = JSON.parse(stdout) as { readonly rows: readonly ReportRow[] };
  const found = rows.flatMap(({ failure }) => failure ?? []);
  t.equal(status, found.length === 0 ? 0 : 1);
  return found.map(({ code, detail }) => `${code}: ${detail}`).join('\n');
};

t.test('BMUXD_SOCKET of another daemon than that of the runtime dir', async (t) => {
  const one = await startBmuxd();
  t.teardown(() => one.stop());
  const two = await startBmuxd();
  t.teardown(() => two.stop());
  const at = (env: Env): Env => ({ ...one.env, ...env });
  const names = (socket: string): string => `control_socket_mismatch: BMUXD_SOCKET names ${socket}, where`;
  const own = `; the daemon of the runtime dir ${join(one.folder, 'd')} has pid ${String(one.pid)}`;
  const other = at({ BMUXD_SOCKET: two.socketPath });
  t.equal(
    await findings(t, shell(other, 'doctor --json')),
    `${names(two.socketPath)} the daemon with pid ${String(two.pid)} answers${own}`,
  );
  const nothing = join(one.folder, 'former', 'control.sock');
  const former = at({ BMUXD_SOCKET: nothing });
  t.equal(await findings(t, shell(former, 'doctor --json')), `${names(nothing)} no daemon answers${own}`);
  t.match(await shell(former, 'start'), {
    status: 1,
    stderr: new RegExp(`^BMUXD_SOCKET names ${nothing}, .*\n.*unset BMUXD_SOCKET.*mismatch\\]\n$`),
  });
  t.equal(await findings(t, shell(at({ BMUXD_SOCKET: one.socketPath }), 'doctor --json')), '', 'its own');
});

t.test('a control socket of its own place that is meant', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const env = { ...sandbox.env, BMUXD_SOCKET: join(sandbox.folder, 's', 'control.sock') };
  t.match(await shell(env, 'start'), { status: 0 });
  t.teardown(() => shell(env, 'stop'));
  t.equal(await findings(t, shell(env, 'doctor --json')), '');
});

t.test('a low limit of open files, of the shell and of the daemon', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const few = 'ulimit -n 128;';
  const check = (before = ''): Promise<string> => findings(t, shell(sandbox.env, 'doctor --json', before));
  t.equal(await check(few), 'files_few: a bmuxd of this shell may open only 128 files');
  t.match(await shell(sandbox.env, 'start', few), { status: 1, stdout: /^bmuxd has started: degraded/ });
  t.teardown(() => shell(sandbox.env, 'stop'));
  t.equal(await check(), 'files_few: bmuxd may open only 128 files');
  t.match((await shell(sandbox.env, 'doctor')).stdout, /Raise the limit \(`ulimit -n` of the shell/);
  await shell(sandbox.env, 'stop');
  t.match(await shell(sandbox.env, 'start', 'ulimit -n 512;'), { status: 0 });
  t.match(await check(), /^files_few: bmuxd with pid \d+ may open only 512 files$/);
});

t.test('a second daemon at the usual place, a TMPDIR that is gone, and the bmux of the PATH', async (t) => {
  const sandbox = await makeSandbox({ config: '[connections]\ndefault_target = "local"\n' });
  t.teardown(() => sandbox.remove());
  const run = join(sandbox.folder, 'x');
  await mkdir(run, { mode: 0o700 });
  const usual = { ...sandbox.env, BMUXD_RUNTIME_DIR: '', XDG_RUNTIME_DIR: run };
  t.match(await shell(usual, 'start'), { status: 0 });
  t.teardown(() => shell(usual, 'stop'));
  await writeFile(join(run, 'bmux'), '#!/bin/sh\necho bmux 0.0.0-old\necho more\n', { mode: 0o700 });
  const PATH = `${run}:${process.env['PATH'] ?? ''}`;
  const odd = { ...sandbox.env, XDG_RUNTIME_DIR: run, TMPDIR: join(run, 'none'), PATH };
  const { stdout } = await shell(odd, 'doctor');
  t.match(stdout, new RegExp(`another +process \\d+, .*, ${run}/bmuxd: it holds`));
  t.match(stdout, `0.0.0-old, ${run}/bmux\n`);
  t.match(stdout, /\nNothing is wrong\.\n$/, stdout);
  t.match((await shell({ ...odd, PATH: run }, 'doctor')).stdout, /npm +not found\n/);
});
