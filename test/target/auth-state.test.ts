// Tests the sign-in at the control plane: what the file must hold, and whose it must be.
import { chmod, chown, mkdir, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { isReadByOthers } from '../../daemon/base/files/path-problem.ts';
import { resolveTarget } from '../../daemon/target/resolve.ts';
import { failureOf } from '../policy/failure-of.ts';
import { inputs, ownFolder } from './sample.ts';

t.test('auth-state.json', async (t) => {
  const runtimeDir = await ownFolder(t);
  const path = join(runtimeDir, 'auth-state.json');
  let asked = 0;
  const server = createServer((_request, response) => {
    asked += 1;
    response.end('{"target":"tls://gw"}');
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  const given = inputs({ target: 'bmux://demo', env: { BMUX_CONTROL_PLANE_URL: url }, runtimeDir });
  for (const content of [
    '',
    '{',
    '[]',
    'null',
    '{"access_token":5}',
    '{"token":"x"}',
    '{"access_token":"secret" oops',
  ]) {
    await writeFile(path, content);
    const failure = await failureOf(() => resolveTarget(given));
    t.hasStrict(
      failure,
      { code: 'auth_state_unparsable', detail: `failed parsing auth state ${path}` },
      content,
    );
    t.notMatch(JSON.stringify(failure), 'secret', 'the content stays out of every text');
  }
  await writeFile(path, Buffer.from('{"access_token":"\xe9"}', 'latin1'));
  t.hasStrict(await failureOf(() => resolveTarget(given)), {
    code: 'file_unreadable',
    detail: `failed reading ${path}`,
  });
  await writeFile(path, JSON.stringify({ access_token: 'sec\nret' }));
  const failure = await failureOf(() => resolveTarget(given));
  t.equal(failure.code, 'control_plane_unreachable');
  t.notMatch(JSON.stringify(failure), 'ret"');
  t.equal(asked, 0);
  await writeFile(path, '{"access_token":"t"}');
  await chmod(path, 0o606);
  const open = await failureOf(() => resolveTarget(given));
  t.hasStrict(open, { code: 'auth_state_insecure' });
  t.match(open.detail, `${path} can be changed by others (mode 0606)`);
  await chmod(path, 0o644);
  t.same((await resolveTarget(given)).warnings, [], 'nobody else can enter the folder');
  if (process.getuid?.() === 0) {
    await chown(path, 65_534, 0);
    t.match((await failureOf(() => resolveTarget(given))).detail, /belongs to user 65534/);
    await chown(path, 0, 0);
  }
  await chmod(runtimeDir, 0o777);
  t.match((await failureOf(() => resolveTarget(given))).detail, `${runtimeDir} can be changed by others`);
  await chmod(runtimeDir, 0o755);
  t.equal(asked, 1);
  const { warnings } = await resolveTarget(given);
  const text = `other users can read the access token in ${path}: run \`chmod 600 ${path}\``;
  t.same(warnings, isReadByOthers(path, await stat(path)) ? [text] : [], 'unless the temp folder is private');
  const folder = join(runtimeDir, 'r2');
  await mkdir(join(folder, 'auth-state.json'), { recursive: true });
  const second = inputs({ target: 'bmux://demo', runtimeDir: folder });
  t.equal(
    (await failureOf(() => resolveTarget(second))).detail,
    `failed reading ${join(folder, 'auth-state.json')}`,
  );
});
