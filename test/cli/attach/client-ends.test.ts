// Tests how `bmuxd attach` tells an engine that was killed from one that has exited.
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pid } from 'node:process';
import t, { type Test } from 'tap';
import { bmuxdPaths } from '../../../daemon/base/paths.ts';
import { ownIdentity, type ProcessIdentity } from '../../../daemon/base/process/identity.ts';
import { sleep } from '../../../daemon/base/async/sleep.ts';
import type { EndRow } from '../../../daemon/api/stream-end.ts';
import { ClientEnds } from '../../../daemon/cli/attach/client-ends.ts';
import { StreamEnds } from '../../../daemon/engine/stream-ends.ts';
import { makeSandbox } from '../../daemon/bmuxd.ts';

/** No process has this id. */
const GONE_PID = 2 ** 22 + 1;

t.test('what others lost before the command was started says nothing of it', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const { enginesDir } = bmuxdPaths(sandbox.env);
  await mkdir(enginesDir, { recursive: true, mode: 0o700 });
  const sinceMs = Date.now() - 1000;
  const row: EndRow = {
    id: 'e1-1',
    target: 'prod',
    transport: 'tls',
    clientPid: GONE_PID,
    atMs: sinceMs - 500,
    lost: 'no answer',
    by: 'server',
  };
  const ends = [row];
  const engine = createServer(({ url = '' }, response) => {
    response.setHeader('Connection', 'close');
    const rows = url.includes('clientPid') ? [] : ends;
    response.end(JSON.stringify({ schema: 1, ends: rows, live: 0 }));
  });
  await new Promise<void>((resolve) => engine.listen(join(enginesDir, 'e1.sock'), resolve));
  t.teardown(() => engine.close());
  const command = { pid, sinceMs, target: 'prod' };
  t.equal(await new ClientEnds(sandbox.env).whyLost(command), undefined);
  ends.push({ ...row, id: 'e1-2', atMs: sinceMs + 500 });
  t.equal(await new ClientEnds(sandbox.env).whyLost(command), 'no answer', 'a process that it has started');
});

/** An engine that was there when a command began, and is gone now, with its socket. `process`: what it tells of itself. */
async function goneEngine(t: Test, process?: ProcessIdentity) {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const { enginesDir } = bmuxdPaths(sandbox.env);
  await mkdir(enginesDir, { recursive: true, mode: 0o700 });
  const engine = createServer((_, response) => {
    response.setHeader('Connection', 'close');
    response.end(JSON.stringify({ schema: 1, ends: [], live: 0, process }));
  });
  const listen = (): Promise<void> =>
    new Promise((resolve) => engine.listen(join(enginesDir, 'e1.sock'), resolve));
  await listen();
  const ends = new ClientEnds(sandbox.env);
  await ends.look();
  await new Promise((resolve) => engine.close(resolve));
  const whyLost = (): Promise<string | undefined> =>
    ends.whyLost({ pid, sinceMs: Date.now(), target: 'prod' });
  const again = async (): Promise<void> => {
    await listen();
    t.teardown(() => engine.close());
  };
  return { enginesDir, whyLost, again };
}

t.test('an engine that has left no file was killed, also when control has removed its socket', async (t) => {
  const { enginesDir, whyLost } = await goneEngine(t);
  t.equal(await whyLost(), 'its engine has died');
  await writeFile(join(enginesDir, 'e2.ends'), '{}');
  t.equal(await whyLost(), 'its engine has died', 'another one has exited');
});

t.test('an engine that has exited was not killed, also when it knew of no stream', async (t) => {
  const { enginesDir, whyLost } = await goneEngine(t);
  await new StreamEnds().keep(join(enginesDir, 'e1.ends'));
  t.equal(await whyLost(), undefined);
});

t.test('without the folder of the engines nobody knows', async (t) => {
  const { enginesDir, whyLost } = await goneEngine(t);
  await rm(enginesDir, { recursive: true });
  t.equal(await whyLost(), undefined);
});

t.test('an engine that runs has not died, although a cleaner has removed its socket', async (t) => {
  const { whyLost, again } = await goneEngine(t, ownIdentity());
  const asking = whyLost();
  // It has found nobody by then.
  await sleep(100);
  await again();
  t.equal(await asking, undefined);
});

t.test('an engine whose id is that of another process now has died', async (t) => {
  const { whyLost } = await goneEngine(t, { ...ownIdentity(), start: '1' });
  t.equal(await whyLost(), 'its engine has died');
});
