// A control process without file descriptors cannot ask its engines. It says so, and takes none of them for dead.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Failure } from '../../../client-shim/index.ts';
import type { Status } from '../../../daemon/api/answers.ts';
import { BMUXD, startBmuxd, type Bmuxd } from '../../daemon/bmuxd.ts';
import { Talk, startWorld } from '../../engine/world.ts';
import { waitFor } from '../../real/child.ts';
import { run } from '../../real/server.ts';

const skip = spawnSync('prlimit', ['--version']).status === 0 ? false : 'no prlimit here';

/**
 * Lets a process open so many descriptors beside those that it has had at the first call, or has now. Its limit is wide again after the test.
 */
function limitFiles(t: Test, pid: number): (more: number, now?: 'now') => void {
  const openNow = (): Set<number> => new Set(readdirSync(join('/proc', String(pid), 'fd')).map(Number));
  const first = openNow();
  const prlimit = (files: number): ReturnType<typeof spawnSync> =>
    spawnSync('prlimit', ['--pid', String(pid), `--nofile=${String(files)}:`]);
  t.teardown(() => prlimit(1024));
  return (more, now) => {
    const open = now === undefined ? first : openNow();
    let at = 0;
    for (let free = 0; free < more; at += 1) if (!open.has(at)) free += 1;
    t.equal(prlimit(at).status, 0);
  };
}

/** None where control has no descriptor for the question: it may need the last one for something else just then. */
async function problemsOf(bmuxd: Bmuxd): Promise<readonly string[]> {
  const status = await bmuxd.status().catch(() => undefined);
  return (status?.problems ?? []).map(({ where, failure }) => `${where}: ${failure.code}`);
}

t.test('no socket of a living engine is removed, and the status says what lacks', { skip }, async (t) => {
  const { bmuxd } = await startWorld(t);
  const former = await Talk.open(bmuxd, 'local');
  former.start();
  t.equal((await bmuxd.bmuxd(['restart'])).status, 0);
  const next = await Talk.open(bmuxd, 'local');
  next.start();
  const { pid } = (await bmuxd.http('GET', '/v1/health')).body as { pid: number };
  const living = await bmuxd.engines();
  t.equal(living.length, 2);
  const limit = limitFiles(t, pid);
  const said = new Set<string>();
  // One is for the connection of who asks. With the next ones the folder can be read, and some of the engines can be asked.
  for (let more = 4; more > 0; more -= 1) {
    limit(more);
    for (let asked = 0; asked < 4; asked += 1) {
      // Control may need the last one for something else just then.
      const answer = await bmuxd.http('GET', '/v1/status').catch(() => undefined);
      if (answer === undefined) continue;
      const { engines, problems } = answer.body as Status;
      t.equal(engines.length, 2, `${String(more)} descriptors: both engines are shown`);
      for (const { where, failure } of problems) said.add(`${where}: ${failure.code}`);
      t.same(await bmuxd.engines(), living, 'both sockets are there');
    }
  }
  t.ok(said.has('control: files_exhausted'), [...said].join(', '));
  limit(64);
  await waitFor('a status without a problem', async () => (await bmuxd.status()).problems.length === 0);
  t.match((await bmuxd.status()).engines, [{ state: 'draining' }, { state: 'serving' }]);
  for (const talk of [former, next]) {
    await talk.quiet();
    await talk.end();
  }
});

t.test('where no engine can be started, a client is told why', { skip }, async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  const limit = limitFiles(t, bmuxd.pid);
  const before = await bmuxd.enginePid();
  limit(1);
  process.kill(before, 'SIGKILL');
  await waitFor('the status to tell', async () =>
    (await problemsOf(bmuxd)).includes('engine: engine_unstartable'),
  );
  let told = '';
  await waitFor('a client that could ask why', async () => {
    const { status, stderr } = await bmuxd.shim([]);
    t.equal(status, 1);
    told = stderr;
    return told.startsWith('bmuxd is not ready');
  });
  t.match(told, /^bmuxd is not ready: the engine process .* EMFILE\nRaise the limit of open files/);
  limit(64);
  await waitFor('the next engine', async () => (await problemsOf(bmuxd)).length === 0);
  t.not(await bmuxd.enginePid(), before);
});

t.test('an engine that lacks them is no engine of another version', { skip }, async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  const pid = await bmuxd.enginePid();
  const limit = limitFiles(t, pid);
  await waitFor('a client to be told', async () => {
    // The last one is for the connection of the client.
    limit(1, 'now');
    const answer: unknown = await bmuxd
      .open({ target: 'tls://127.0.0.1:1' })
      .catch((error: unknown) => error);
    return answer instanceof Failure && answer.code === 'files_exhausted';
  });
  const problems = await problemsOf(bmuxd);
  t.notOk(problems.some((problem) => problem.endsWith(': version_mismatch')));
  t.equal(await bmuxd.enginePid(), pid);
});

t.test('the doctor says why its probe cannot be started', { skip }, async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  let doctor = '';
  // How few files Node itself needs depends on its version.
  for (let files = 18; files < 40 && !doctor.includes('EMFILE'); files += 1) {
    const line = `ulimit -n ${String(files)}; exec "$0" "$@"`;
    ({ stdout: doctor } = await run('/bin/sh', ['-c', line, process.execPath, BMUXD, 'doctor'], bmuxd.env));
    t.notMatch(doctor, /an error inside bmuxd/);
  }
  t.match(doctor, /the probe of bmuxd doctor: spawn [^]* EMFILE[^]*Raise the limit/);
});
