// Tests an upgrade in place: the files of the package are of another version than the daemon that runs from them.
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Status, StreamList } from '../../daemon/api/answers.ts';
import { packageVersion } from '../../daemon/base/version.ts';
import { startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import { packageCopy } from '../daemon/package-copy.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import { isAlive, waitFor } from '../real/index.ts';
import { Talk } from '../engine/world.ts';

t.setTimeout(120_000);

const NEXT = '99.0.0-next';

/** A daemon of a copy of the package, with a local server. */
async function startCopy(t: Test) {
  const { root, program, setVersion } = await packageCopy(t);
  const bmuxd: Bmuxd = await startBmuxd({ program });
  const server = await launchEmbedded({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    server: { epoch: 4 },
  });
  t.teardown(async () => {
    await bmuxd.bmuxd(['stop']);
    await bmuxd.stop();
    await server.stop();
  });
  const versions = async (): Promise<readonly [string, readonly string[]]> => {
    const { version, engines } = (await bmuxd.http('GET', '/v1/status')).body as Status;
    return [version, engines.filter(({ state }) => state === 'serving').map((engine) => engine.version)];
  };
  return { bmuxd, root, setVersion, versions };
}

t.test('an engine is needed after an upgrade: the daemon restarts itself whole', async (t) => {
  const { bmuxd, setVersion, versions } = await startCopy(t);
  const own = packageVersion();
  t.same(await versions(), [own, [own]]);
  await setVersion(NEXT);
  const status = await bmuxd.bmuxd(['status']);
  t.match(status.stdout, `bmuxd ${NEXT} is installed, and ${own} runs`);
  t.match(status.stdout, `Run \`bmuxd restart\` to use ${NEXT}`);
  process.kill(await bmuxd.enginePid(), 'SIGKILL');
  // A request waits for the next daemon.
  const { stream } = await bmuxd.open({ target: 'local' });
  stream.destroy();
  await waitFor('the former control to leave', () => !isAlive(bmuxd.pid));
  await waitFor('an engine that serves', async () => (await versions())[1].length > 0);
  t.same(await versions(), [NEXT, [NEXT]]);
  t.equal(bmuxd.log().split('"engine starts"').length, 2, 'the former control has started one engine');
});

t.test(
  'the next version shows and ends the streams of the former engine, after the package was away',
  async (t) => {
    const { bmuxd, root, setVersion, versions } = await startCopy(t);
    const talk = await Talk.open(bmuxd, 'local');
    talk.start();
    const path = join(root, 'package.json');
    await rename(path, `${path}.away`);
    t.match((await bmuxd.status()).problems, [{ failure: { code: 'package_away' } }]);
    await setVersion(NEXT);
    const restart = await bmuxd.bmuxd(['restart']);
    t.match(restart, { status: 0, stdout: /^bmuxd has restarted: ready/ });
    await waitFor('the former control to leave', () => !isAlive(bmuxd.pid));
    t.equal((await versions())[0], NEXT);
    await talk.quiet();
    const list = (await bmuxd.http('GET', '/v1/streams')).body as StreamList;
    t.match(list, { streams: [{ id: talk.id, state: 'live' }], silent: [] });
    t.match(await bmuxd.bmuxd(['streams', 'end', talk.id]), { status: 0 });
    await waitFor('its end', () => talk.incoming.ended);
  },
);
