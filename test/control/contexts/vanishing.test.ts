// Tests a bmux.toml that is away for an instant, as when an editor replaces it: no request for one of its targets reaches the local server.
import { rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { Failure } from '../../../client-shim/index.ts';
import { sleep } from '../../../daemon/base/async/sleep.ts';
import { startBmuxd } from '../../daemon/bmuxd.ts';
import { EmbeddedServer } from '../../embedded/server/server.ts';
import { waitFor } from '../../real/child.ts';
import { isThere, targetSocketIs, targetSocketPath } from '../../target-sockets/target-socket.ts';

t.test('bmux.toml away for an instant', async (t) => {
  // Nobody listens at the target, so a request for it fails, and one that succeeds has reached the local server.
  const config =
    '[connections]\ndefault_target = "far"\n[connections.targets.far]\ntransport = "tls"\nhost = "127.0.0.1"\nport = 1\n';
  const bmuxd = await startBmuxd({ config });
  t.teardown(() => bmuxd.stop());
  const socketPath = join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock');
  const server = await EmbeddedServer.start({ socketPath, epoch: 4 });
  t.teardown(() => server.stop());
  const file = join(bmuxd.env['BMUX_CONFIG_DIR'] ?? '', 'bmux.toml');

  const outcomeOf = async (target: string | undefined): Promise<string> => {
    try {
      const { stream } = await bmuxd.open(target === undefined ? {} : { target });
      stream.destroy();
      return 'reached the local server';
    } catch (error) {
      return error instanceof Failure ? error.data.code : String(error);
    }
  };
  t.equal(await outcomeOf('far'), 'tls_unreachable');
  await targetSocketIs(true, targetSocketPath(bmuxd, 'far'));

  for (const ms of [5, 50, 400]) {
    let isMoving = true;
    const seen = new Map<string, number>();
    const note = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1);
    const ask = async (target: string | undefined): Promise<void> => {
      while (isMoving) {
        note(await outcomeOf(target));
        note(isThere(targetSocketPath(bmuxd, 'far')) ? 'a target socket' : 'no target socket');
      }
    };
    const asking = [ask('far'), ask(undefined)];
    for (const until = performance.now() + 1000; performance.now() < until;) {
      await rename(file, `${file}~`);
      await sleep(ms);
      await rename(`${file}~`, file);
      await sleep(ms);
    }
    isMoving = false;
    await Promise.all(asking);
    t.comment(`away for ${String(ms)} ms: ${JSON.stringify([...seen])}`);
    t.strictSame(new Set(seen.keys()), new Set(['tls_unreachable', 'a target socket']));
  }
  t.notMatch(bmuxd.log(), /is not configured/);

  await unlink(file);
  t.equal(await outcomeOf('far'), 'tls_unreachable', 'perhaps it is away for an instant');
  // No request is made: the daemon itself finds out that the file does not come back.
  await targetSocketIs(false, targetSocketPath(bmuxd, 'far'));
  t.equal(await outcomeOf('far'), 'target_gone');
  t.equal(await outcomeOf('fra'), 'reached the local server', 'a name that was never known');
  await waitFor(
    'the default target to be gone',
    async () => (await outcomeOf(undefined)) !== 'tls_unreachable',
  );
  await bmuxd.configure('bmux.toml', config);
  t.equal(await outcomeOf('far'), 'tls_unreachable');
});
