// Tests POST /v1/target-sockets: a request that runs out of time stops its work.
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { makeServer, type Resources } from '../../../daemon/control/http/server.ts';
import { LIMITS } from '../../../daemon/base/limits.ts';

t.test('the signal of the work is aborted when the request is answered', async (t) => {
  const signals: AbortSignal[] = [];
  const resources: Partial<Resources> = {
    targetSocket: (_request, signal) => {
      signals.push(signal);
      return new Promise(() => undefined);
    },
  };
  const app = await makeServer(resources as Resources);
  t.teardown(() => app.close());
  await new Promise<void>((resolve) => app.server.listen(0, '127.0.0.1', resolve));
  const { port } = app.server.address() as AddressInfo;
  const since = performance.now();
  const status = await new Promise<number | undefined>((resolve, reject) => {
    request({ port, host: '127.0.0.1', method: 'POST', path: '/v1/target-sockets' }, (response) => {
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
