// Tests that no secret gets into the log: the token of a lookup, credentials in a target, and the bytes of a stream.
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { Failure } from '../../../client-shim/index.ts';
import { startBmuxd } from '../../daemon/bmuxd.ts';
import { TestClient } from '../../embedded/client.ts';
import { EmbeddedServer } from '../../embedded/server/server.ts';

const TOKEN = 'token-7f3a9c';
const PASSWORD = 'password-51bd';
const TYPED = 'typed-c0ffee';

t.test('the debug log and the status contain no secret', async (t) => {
  const seen: (string | undefined)[] = [];
  const controlPlane = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.end(JSON.stringify({ target: request.url?.endsWith('/mine') === true ? 'local' : 'iroh://' }));
  });
  await new Promise<void>((resolve) => controlPlane.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    controlPlane.close();
    controlPlane.closeAllConnections();
  });
  const { port } = controlPlane.address() as AddressInfo;
  const bmuxd = await startBmuxd({
    config: `[connections]\ncontrol_plane_url = "http://me:${PASSWORD}@127.0.0.1:${String(port)}"\n`,
  });
  t.teardown(() => bmuxd.stop());
  const runtimeDir = bmuxd.env['BMUX_RUNTIME_DIR'] ?? '';
  await writeFile(join(runtimeDir, 'auth-state.json'), JSON.stringify({ access_token: TOKEN }));
  const server = await EmbeddedServer.start({ socketPath: join(runtimeDir, 'server.sock'), epoch: 4 });
  t.teardown(() => server.stop());

  const { stream } = await bmuxd.open({ target: 'bmux://mine' });
  const client = new TestClient(stream);
  await client.echo(Buffer.from(TYPED));
  await client.close();
  for (const target of [
    'bmux://other',
    `iroh://ab?relay=http://me:${PASSWORD}@127.0.0.1:1`,
    `tls://me:${PASSWORD}@127.0.0.1:1`,
  ])
    await t.rejects(bmuxd.open({ target }), Failure, target);
  t.same(seen, [`Bearer ${TOKEN}`, `Bearer ${TOKEN}`]);

  const status = JSON.stringify(await bmuxd.status());
  const shown = `${(await bmuxd.bmuxd(['status'])).stdout}${(await bmuxd.bmuxd(['streams', '--json'])).stdout}`;
  for (const secret of [TOKEN, PASSWORD, TYPED]) {
    t.notMatch(bmuxd.log(), secret);
    t.notMatch(status, secret);
    t.notMatch(shown, secret);
  }
  t.match(bmuxd.log(), /"msg":"request"/, 'the log contains debug lines');
});
