// Tests the ids of engines: they sort by age, whatever the clock does.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { EngineSocketFiles } from '../../../daemon/control/engines/others/socket-files.ts';

const NOON = Date.UTC(2026, 10, 30, 12);
const HOUR = 3_600_000;

async function folder(t: Test): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'bmuxd-ids-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** An engine of another control process begins at `now`; its socket is there. */
async function begins(dir: string, now: number): Promise<string> {
  const sockets = new EngineSocketFiles(dir);
  const id = sockets.next(now);
  await writeFile(sockets.path(id), '');
  return id;
}

t.test('an engine that starts later has the later id, also when the clock was set back', async (t) => {
  const dir = await folder(t);
  const ids: string[] = [];
  for (const now of [NOON, NOON - HOUR, NOON - 2 * HOUR, NOON - 2 * HOUR, NOON + HOUR, NOON])
    ids.push(await begins(dir, now));
  t.equal(new Set(ids).size, ids.length);
  t.same(new EngineSocketFiles(dir).list(), ids, 'they are listed by age');
});

t.test('so does an engine whose predecessors of the same daemon have left nothing', async (t) => {
  const sockets = new EngineSocketFiles(await folder(t));
  const ids = [NOON, NOON - HOUR, NOON - HOUR].map((now) => sockets.next(now));
  t.same(ids.toSorted(), ids);
  t.equal(new Set(ids).size, ids.length);
});

t.test('only the id of an engine counts as one', async (t) => {
  const dir = await folder(t);
  for (const name of ['zzzzzzzzzzzz.sock', 'a.sock', 'ABCDEFGHIJ.sock', 'zzzzzzzzzz.ends'])
    await writeFile(join(dir, name), '');
  t.match(new EngineSocketFiles(dir).next(NOON), new RegExp(`^${NOON.toString(36)}[a-z0-9]{2}$`));
});
