// The errors of protocol detection with peers that are no bmux servers, and with a host that demands SSH auth.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { encodeResponseFrame } from '../../daemon/bmux-ipc/ipc.ts';
import { detectionError } from '../../daemon/hello/detection-error.ts';
import type { Route } from '../../daemon/engine-protocol/plan.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import { waitFor } from '../real/child.ts';
import { failureOf } from '../transport/dialling.ts';
import { openerFor, planFor } from './opener.ts';

const folder = await mkdtemp(join(tmpdir(), 'bmuxd-hello-'));
t.teardown(() => rm(folder, { recursive: true, force: true }));

t.test('a peer that answers something else than a Hello, or nothing', async (t) => {
  const behaviours: readonly [name: string, code: string, (socket: Socket) => void][] = [
    ['an error', 'hello_refused', (s) => s.write(errorFrame('invalid_request'))],
    ['a version mismatch', 'protocol_mismatch', (s) => s.write(errorFrame('version_mismatch'))],
    ['another version', 'protocol_mismatch', (s) => s.write(frameOfVersion(9))],
    ['garbage', 'peer_malformed', (s) => s.write('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['an invalid frame', 'peer_malformed', (s) => s.write(Buffer.from([3, 0, 0, 0, 255, 255, 255]))],
    ['nothing', 'hello_timeout', () => undefined],
    ['an end', 'connection_lost', (s) => s.end()],
    ['a reset', 'connection_lost', (s) => s.destroy()],
  ];
  for (const [name, code, behave] of behaviours) {
    const path = join(folder, 'odd.sock');
    const sockets = new Set<Socket>();
    const peer = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('end', () => socket.end());
      socket.on('close', () => sockets.delete(socket));
      socket.once('data', () => behave(socket));
    });
    peer.listen(path);
    await once(peer, 'listening');
    const one = await openerFor(t);
    const since = performance.now();
    const failure = await failureOf(
      one.open(planFor({ transport: 'local', socketPath: path }, { budgetMs: 2000 })),
    );
    t.equal(failure.code, code, name);
    t.ok(performance.now() - since < 15_000, `${name}: in time`);
    await waitFor('every stream to be closed', () => sockets.size === 0);
    peer.close();
    await once(peer, 'close');
  }
});

t.test('a peer that answers garbage to each candidate is asked once with each', async (t) => {
  const path = join(folder, 'garbage.sock');
  let connections = 0;
  const peer = createServer((socket) => {
    connections += 1;
    socket.on('error', () => undefined);
    socket.once('data', () => socket.write(Buffer.from([3, 0, 0, 0, 255, 255, 255])));
  });
  peer.listen(path);
  await once(peer, 'listening');
  t.teardown(() => peer.close());
  const one = await openerFor(t);
  const asked = planFor({ transport: 'local', socketPath: path }, { budgetMs: 20_000 });
  t.equal((await failureOf(one.open(asked))).code, 'peer_malformed');
  t.equal(connections, 2, 'the two epochs');
});

t.test('a host that demands SSH auth: the error names the setting iroh_ssh_auth', async (t) => {
  const strict = await launchEmbedded({
    socketPath: join(folder, 'strict.sock'),
    server: { epoch: 4 },
    iroh: { relays: 'disabled', compression: 'zstd', allowedKeys: [] },
  });
  t.teardown(() => strict.stop());
  const one = await openerFor(t);
  const { endpointId = '', address = '' } = strict.iroh ?? {};
  const route: Route = { transport: 'iroh', endpointId, ipAddr: address, sshAuth: false };
  const failure = await failureOf(one.open(planFor(route, { budgetMs: 1500 })));
  // The host takes the Hello for the auth stream. It waits for the rest of a line, or closes the connection when the line is invalid.
  t.match(
    failure.message,
    /^bmux error: (no answer to the Hello from target 'prod' within \d{4,5} ms\.$|server connection lost)/,
  );
  t.match(failure.data.remedy, /iroh_ssh_auth/);
});

t.test('silence on a connection on which Hellos were answered is not for want of SSH auth', async (t) => {
  const host = await launchEmbedded({
    socketPath: join(folder, 'silent.sock'),
    server: { epoch: 4 },
    iroh: { relays: 'disabled', compression: 'zstd' },
  });
  t.teardown(() => host.stop());
  const one = await openerFor(t);
  const { endpointId = '', address = '' } = host.iroh ?? {};
  const plan = planFor(
    { transport: 'iroh', endpointId, ipAddr: address, sshAuth: false },
    { budgetMs: 2000 },
  );
  await one.end(await one.open(plan));
  await host.kill();
  const gone = await failureOf(one.open(plan));
  t.match([gone.code, gone.message], ['iroh_silent', 'iroh target unreachable: prod']);

  const subject = { label: 'prod', runtime: { name: 'default', socket: '/s' }, mayWantAuth: true };
  const codeOf = (outcome: Parameters<typeof detectionError>[0]): string =>
    detectionError(outcome, subject, 100).code;
  t.equal(codeOf({ type: 'silent' }), 'hello_silent_auth');
  t.equal(
    codeOf({ type: 'silent', answeredBefore: true, doubtful: false }),
    'hello_timeout',
    'the gateway is heard',
  );
  t.equal(codeOf({ type: 'ended', broken: true }), 'hello_closed_auth');
  t.equal(codeOf({ type: 'ended', broken: true, answeredBefore: true }), 'connection_lost');
});

function errorFrame(code: 'invalid_request' | 'version_mismatch'): Buffer {
  return encodeResponseFrame(4, 1n, { type: 'error', code, message: 'no' });
}

function frameOfVersion(version: number): Buffer {
  const frame = errorFrame('invalid_request');
  frame[4] = version;
  return frame;
}
