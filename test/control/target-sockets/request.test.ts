// Tests POST /v1/target-sockets: a request that runs out of time stops its work.
import { request } from 'node:http';
import { join } from 'node:path';
import t from 'tap';
import { makeLogger } from '../../../daemon/base/log.ts';
import { OwnClients } from '../../../daemon/sockets/own-clients.ts';
import { folderFor } from '../../config/files.ts';
import type { Resources } from '../../../daemon/control/http/routes.ts';
import { makeServer } from '../../../daemon/control/http/server.ts';
import { LIMITS } from '../../../daemon/base/limits.ts';

t.test('the signal of the work is aborted when the request is answered', async (t) => {
  const signals: AbortSignal[] = [];
  const resources: Partial<Resources> = {
    version: () => ({ schema: 1, version: '0.1.0', node: '', platform: '', arch: '' }),
    targetSocket: (_request, signal) => {
      signals.push(signal);
      return new Promise(() => undefined);
    },
  };
  const app = await makeServer(
    resources as Resources,
    new OwnClients({
      log: makeLogger({ level: 'error', process: 'test', sink: { write: () => undefined } }),
      folders: [],
    }),
  );
  t.teardown(() => app.close());
  const socketPath = join(await folderFor(t), 'c.sock');
  await new Promise<void>((resolve) => app.server.listen(socketPath, resolve));
  const since = performance.now();
  const status = await new Promise<number | undefined>((resolve, reject) => {
    request({ socketPath, method: 'POST', path: '/v1/target-sockets' }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .on('error', reject)
      .end();
  });
  t.equal(status, 503);
  t.ok(performance.now() - since >= LIMITS.targetSocketMs - 100);
  t.strictSame(
    signals.map(({ aborted }) => aborted),
    [true],
  );
});
