// Tests what an engine is started with: settings of any size, and nothing of them in the list of processes.
import { watch } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Status } from '../../daemon/api/answers.ts';
import { startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import { waitFor } from '../real/child.ts';

const serves = (bmuxd: Bmuxd): Promise<void> =>
  waitFor('an engine to serve', async () => {
    const { state, engines } = await bmuxd.status();
    return state === 'ready' && engines.some((engine) => engine.state === 'serving');
  });

const skip = process.platform !== 'linux' && 'command lines are read from /proc';
t.test('credentials of a relay URL are in no command line', { skip }, async (t) => {
  const bmuxd = await startBmuxd({ settings: '[iroh]\nrelays = ["https://user:s3cr3t@relay.example/"]\n' });
  t.teardown(() => bmuxd.stop());
  await serves(bmuxd);
  const lines = await Promise.all(
    [bmuxd.pid, await bmuxd.enginePid()].map((pid) => readFile(`/proc/${String(pid)}/cmdline`, 'utf8')),
  );
  t.ok(lines.every((line) => line.includes('node')));
  t.notOk(lines.some((line) => line.includes('s3cr3t')));
});

/** Larger than an argument of a process may be (128 KiB on Linux), smaller than bmuxd's limit of 256 KiB. */
const LARGE = Array.from({ length: 8000 }, (_, n) => `[targets.t${String(n)}]\nspares = 0\n`).join('');

t.test('a large bmuxd.toml, at the start and at a reload', async (t) => {
  t.ok(LARGE.length > 200_000 && LARGE.length < 256 * 1024, String(LARGE.length));
  const bmuxd = await startBmuxd({ settings: LARGE });
  t.teardown(() => bmuxd.stop());
  await serves(bmuxd);
  await writeFile(bmuxd.env['BMUXD_CONFIG'] ?? '', LARGE.replace('spares = 0', 'spares = 1'));
  t.match(await bmuxd.bmuxd(['reload']), { status: 0 });
  const before = await bmuxd.enginePid();
  process.kill(before, 'SIGKILL');
  await waitFor('the next engine', async () => {
    const { engines } = await bmuxd.status();
    return engines.some(({ pid, state }) => pid !== before && state === 'serving');
  });
  await serves(bmuxd);
});

/** The children of a process, the newest last. */
async function childrenOf(pid: number): Promise<number[]> {
  const task = `/proc/${String(pid)}/task/${String(pid)}/children`;
  return (await readFile(task, 'utf8')).trim().split(' ').map(Number);
}

t.test('an engine that has bound its socket and has told nothing yet is starting', { skip }, async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  const engines = join(bmuxd.folder, 'd', 'engines');
  let stopped: number | undefined;
  t.teardown(() => {
    if (stopped !== undefined) process.kill(stopped, 'SIGCONT');
  });
  await waitFor('an engine that is stopped before it has told anything', async () => {
    if (stopped !== undefined) process.kill(stopped, 'SIGCONT');
    stopped = undefined;
    await serves(bmuxd);
    const former = await bmuxd.enginePid();
    const before = await readdir(engines);
    const bound = new Promise<void>((resolve) => {
      const watcher = watch(engines, (_, name) => {
        if (name === null || before.includes(name) || !/^[a-z0-9]+\.sock$/.test(name)) return;
        watcher.close();
        resolve();
      });
    });
    process.kill(former, 'SIGKILL');
    await bound;
    stopped = (await childrenOf(bmuxd.pid)).at(-1);
    if (stopped !== undefined) process.kill(stopped, 'SIGSTOP');
    const { body } = await bmuxd.http('GET', '/v1/status');
    const { engines: rows, problems } = body as Status;
    const row = rows.find(({ pid }) => pid === stopped || pid === 0);
    if (row === undefined || row.state === 'serving') return false;
    t.match(row, { state: 'starting', pid: stopped });
    t.strictSame(
      problems.filter(({ failure }) => failure.code === 'engine_silent'),
      [],
    );
    return true;
  });
});
