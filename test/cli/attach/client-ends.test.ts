// Tests how `bmuxd attach` tells an engine that was killed from one that has exited.
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { bmuxdPaths } from '../../../daemon/base/paths.ts';
import { ClientEnds } from '../../../daemon/cli/attach/client-ends.ts';
import { StreamEnds } from '../../../daemon/engine/stream-ends.ts';
import { makeSandbox } from '../../daemon/bmuxd.ts';

/** An engine that was there when a command began, and is gone now, with its socket. */
async function goneEngine(t: Test) {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const { enginesDir } = bmuxdPaths(sandbox.env);
  await mkdir(enginesDir, { recursive: true, mode: 0o700 });
  const engine = createServer((_, response) => {
    response.setHeader('Connection', 'close');
    response.end(JSON.stringify({ schema: 1, ends: [], live: 0 }));
  });
  await new Promise<void>((resolve) => engine.listen(join(enginesDir, 'e1.sock'), resolve));
  const ends = new ClientEnds(sandbox.env);
  await ends.look();
  await new Promise((resolve) => engine.close(resolve));
  const whyLost = (): Promise<string | undefined> =>
    ends.whyLost({ pid: process.pid, sinceMs: Date.now(), target: 'prod' });
  return { enginesDir, whyLost };
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
