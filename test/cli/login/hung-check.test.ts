// `bmuxd login` where the ssh that asks a present connection hangs.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import t from 'tap';
import { startBmuxd } from '../../daemon/bmuxd.ts';
import { targetToml } from '../../target-sockets/ways.ts';

t.test('it is ended, and the login is made', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'login-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const hangs = "trap '' TERM; while :; do sleep 1; done";
  const ssh = `#!/bin/sh\ncase "$*" in *'-O check'*|*-Ocheck*) ${hangs} ;; *) exit 7 ;; esac\n`;
  await writeFile(join(folder, 'ssh'), ssh, { mode: 0o755 });
  const bmuxd = await startBmuxd({
    config: targetToml('box', { transport: 'ssh', host: 'box.invalid' }),
    env: { PATH: `${folder}${delimiter}${process.env['PATH'] ?? ''}` },
  });
  t.teardown(() => bmuxd.stop());
  t.match(await bmuxd.bmuxd(['login', 'box']), {
    status: 6,
    stderr: "ssh has ended with status 7, without a login at 'box'",
  });
});
