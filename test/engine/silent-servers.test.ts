// Servers that never answer, at each stage of an open: the caller's time bounds the whole of it, and a caller that hangs up ends what was dialled
// for it alone.
import { writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import t, { type Test } from 'tap';
import type { StreamList } from '../../daemon/api/answers.ts';
import { Failure } from '../../client-shim/index.ts';
import { startBmuxd, type Bmuxd } from '../daemon/bmuxd.ts';
import { selfSigned } from '../embedded/certificate.ts';
import { waitFor } from '../real/index.ts';
import { targetToml } from '../target-sockets/ways.ts';

const BUDGET_MS = 1200;
/** ms that a busy machine may add to the time limit. */
const BUSY_MS = 10_000;

/** A listening server that reads and says nothing. */
interface Silent {
  readonly open: Set<Socket>;
  readonly port: number;
}

async function silent(t: Test, server: Server): Promise<Silent> {
  const open = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.on('error', () => undefined).once('close', () => open.delete(socket));
    // The TLS server reads by itself.
    if (server.listenerCount('secureConnection') === 0) socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  const address = server.address();
  return { open, port: typeof address === 'object' && address !== null ? address.port : 0 };
}

/** The streams of the engines, also those that are being opened. */
async function streamsOf(bmuxd: Bmuxd): Promise<readonly unknown[]> {
  const { body } = await bmuxd.http('GET', '/v1/streams');
  return (body as StreamList).streams;
}

async function startSilentWorld(
  t: Test,
): Promise<{ bmuxd: Bmuxd; servers: Readonly<Record<string, Silent>> }> {
  const { certPem, keyPem } = selfSigned();
  const shaken = createTlsServer({ cert: certPem, key: keyPem }, (socket) => {
    socket.on('error', () => undefined).resume();
  });
  const servers = { handshake: await silent(t, createServer()), hello: await silent(t, shaken) };
  const bmuxd = await startBmuxd({ settings: 'warmth.max_connections = 0\n' });
  t.teardown(() => bmuxd.stop());
  const caFile = join(bmuxd.folder, 'ca.pem');
  await writeFile(caFile, certPem);
  const config = Object.entries(servers).flatMap(([name, { port }]) =>
    [BUDGET_MS, 60_000].map((ms) =>
      targetToml(`${name}-${String(ms)}`, {
        transport: 'tls',
        host: '127.0.0.1',
        port,
        server_name: 'localhost',
        ca_file: caFile,
        connect_timeout_ms: ms,
      }),
    ),
  );
  await bmuxd.configure('bmux.toml', config.join(''));
  return { bmuxd, servers };
}

t.test('servers that never answer', async (t) => {
  const { bmuxd, servers } = await startSilentWorld(t);
  for (const [stage, server] of Object.entries(servers)) {
    await t.test(`at the ${stage}: the time of the caller bounds the whole open`, async (t) => {
      const since = performance.now();
      const error: unknown = await bmuxd
        .open({ target: `${stage}-${String(BUDGET_MS)}` })
        .catch((why: unknown) => why);
      t.ok(error instanceof Failure);
      t.match(error, { code: /timeout/ });
      const tookMs = performance.now() - since;
      t.ok(tookMs >= BUDGET_MS - 100 && tookMs < BUDGET_MS + BUSY_MS, `${String(Math.round(tookMs))} ms`);
      await waitFor('nothing to be dialled any more', () => server.open.size === 0);
    });

    await t.test(`at the ${stage}: a caller that hangs up ends its dials`, async (t) => {
      const target = `${stage}-60000`;
      const callers = [new AbortController(), new AbortController()];
      const asked = callers.map(({ signal }) => bmuxd.open({ target, signal }).catch((why: unknown) => why));
      await waitFor('both to be dialled for', () => server.open.size >= 2);
      callers[0]?.abort(new Error('enough'));
      await asked[0];
      await waitFor('one stream to be given up', async () => (await streamsOf(bmuxd)).length === 1);
      t.ok(server.open.size > 0, 'the other caller still waits');
      callers[1]?.abort(new Error('enough'));
      await asked[1];
      await waitFor('nothing to be dialled any more', () => server.open.size === 0);
      t.strictSame(await streamsOf(bmuxd), []);
    });
  }
});
