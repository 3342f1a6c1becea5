// Tests against real gateways: they understand our protocol, and none of our stream ends costs their server a connection.
import { readFile } from 'node:fs/promises';
import { createServer, connect } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import { endGracefully } from '../../daemon/transport/end.ts';
import { IrohEndpoint, type IrohConnection } from '../../daemon/transport/iroh/endpoint.ts';
import { openLocal } from '../../daemon/transport/local.ts';
import { SystemRoots } from '../../daemon/transport/tls/certificates/roots.ts';
import { authenticate } from '../../daemon/transport/ssh-auth/authenticate.ts';
import { TlsContexts } from '../../daemon/transport/tls/tls.ts';
import {
  canCountConnections,
  hasSshAgent,
  connectionsHeld,
  realBmux,
  repositoryRoot,
  startAgent,
  startIrohGateway,
  startServer,
  startTlsGateway,
  waitFor,
  type IrohGateway,
  type RealServer,
} from '../real/index.ts';
import { failureOf, readBytes, within } from './dialling.ts';

async function vector<T>(name: string): Promise<T> {
  return JSON.parse(await readFile(join(repositoryRoot(), 'test', 'vectors', name), 'utf8')) as T;
}

interface Conversation {
  readonly sent: Buffer;
  /** Length of the answer. The size of a block can differ with the principal's bytes, so its header is compared. */
  readonly answer: number;
}

async function hellos(): Promise<Record<'none' | 'zstd', Conversation>> {
  const plain = (await vector<{ cases: { sent: string[]; received: string }[] }>('v4-local.json')).cases[0];
  const blocks = await vector<{ sent: string[] }>('v4-compressed.json');
  return {
    none: { sent: Buffer.from(plain?.sent[0] ?? '', 'hex'), answer: (plain?.received.length ?? 0) / 2 },
    zstd: { sent: Buffer.from(blocks.sent[0] ?? '', 'hex'), answer: 8 },
  };
}

async function freed(t: Test, server: RealServer, connections = 0): Promise<void> {
  if (!canCountConnections()) return t.comment('ss not found: connections not counted');
  await waitFor(
    `the server to hold ${String(connections)} connections`,
    async () => (await connectionsHeld(server)) === connections,
  );
}

t.test('real bmux', { skip: realBmux() === undefined && 'real bmux not found' }, async (t) => {
  const server = await startServer();
  t.teardown(() => server.stop());
  const hello = await hellos();
  const converse = async (stream: Duplex, { sent, answer }: Conversation): Promise<void> => {
    stream.write(sent);
    t.ok((await readBytes(stream, answer)).length >= answer, 'the Hello is answered');
  };

  t.test('local', async (t) => {
    const stream = await openLocal({ transport: 'local', socketPath: server.socketPath }, within(5000));
    await converse(stream, hello.none);
    await endGracefully(stream);
    await freed(t, server);
  });

  for (const compression of ['zstd', 'none'] as const) {
    t.test(`TLS, ${compression}`, async (t) => {
      const gateway = await startTlsGateway(server, { compression });
      t.teardown(() => gateway.stop());
      const contexts = new TlsContexts({ roots: new SystemRoots({ env: {} }) });
      const route = (serverName: string, caFile?: string) => ({
        transport: 'tls' as const,
        host: gateway.host,
        port: gateway.port,
        serverName,
        ...(caFile === undefined ? {} : { caFile }),
      });
      for (const name of ['localhost', '127.0.0.1', 'localhost']) {
        const { stream } = await contexts.open(route(name, gateway.caFile), 'prod', within(8000));
        await converse(stream, hello[compression]);
        const start = performance.now();
        await endGracefully(stream);
        t.ok(performance.now() - start < 4500, 'the gateway ends in answer to close_notify');
      }
      t.equal(
        (await failureOf(contexts.open(route('localhost'), 'prod', within(8000)))).code,
        'tls_handshake_failed',
      );
      const wrong = contexts.open(route('other.test', gateway.caFile), 'prod', within(8000));
      t.equal((await failureOf(wrong)).code, 'tls_handshake_failed');
      await freed(t, server);
    });
  }

  const irohRoute = (gateway: IrohGateway, sshAuth: boolean) => ({
    transport: 'iroh' as const,
    endpointId: gateway.endpointId,
    ipAddr: gateway.ipAddr,
    sshAuth,
  });

  for (const compression of ['zstd', 'none'] as const) {
    t.test(`iroh, ${compression}`, async (t) => {
      const gateway = await startIrohGateway(server, { compression });
      t.teardown(() => gateway.stop());
      const endpoint = await IrohEndpoint.bind({ relays: 'disabled' });
      t.teardown(() => endpoint.close());
      const connection = await endpoint.connect(irohRoute(gateway, false), 'prod', within(8000));
      const streams = await Promise.all([1, 2, 3].map(() => connection.openStream(within(5000))));
      for (const stream of streams) await converse(stream, hello[compression]);
      const [ended, killed] = streams;
      if (ended === undefined || killed === undefined) throw new Error('no streams');
      await endGracefully(ended);
      killed.destroy();
      await freed(t, server, 1);
      await connection.close();
      await freed(t, server);
    });
  }

  t.test('iroh with SSH auth', { skip: !hasSshAgent() && 'ssh-agent not found' }, async (t) => {
    const agent = await startAgent();
    t.teardown(() => agent.stop());
    const ed25519 = await agent.addKey('ed25519', 'first key');
    const gateway = await startIrohGateway(server, {
      compression: 'none',
      sshAuth: [ed25519, await agent.addKey('rsa', 'second key')],
    });
    t.teardown(() => gateway.stop());
    const endpoint = await IrohEndpoint.bind({ relays: 'disabled' });
    t.teardown(() => endpoint.close());
    const connected = (): Promise<IrohConnection> =>
      endpoint.connect(irohRoute(gateway, true), 'prod', within(8000));
    const authenticated = async (connection: IrohConnection, agentSocket: string) =>
      authenticate(await connection.openStream(within(5000)), {
        ...within(8000),
        agentSocket,
        label: 'prod',
      });

    const connection = await connected();
    await authenticated(connection, agent.socket);
    const stream = await connection.openStream(within(5000));
    await converse(stream, hello.none);
    await endGracefully(stream);
    await connection.close();

    // The same agent with one flipped bit in each signature, to see how a host refuses.
    const forging = createServer((client) => {
      const real = connect(agent.socket);
      client.pipe(real).on('error', () => client.destroy());
      client.on('error', () => real.destroy()).on('close', () => real.destroy());
      real.on('data', (bytes: Buffer) => {
        if (bytes[4] === 14) bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
        client.write(bytes);
      });
    });
    const forged = join(agent.folder, 'forged.sock');
    await new Promise<void>((resolve) => forging.listen(forged, resolve));
    t.teardown(() => forging.close());
    const refusing = await connected();
    const failure = await failureOf(authenticated(refusing, forged));
    t.equal(failure.code, 'ssh_auth_failed');
    t.match(
      failure.data.causes[0],
      /^iroh SSH auth rejected: the host closed the connection: key \S+ \((first|second) key\)/,
    );
    await refusing.closed;
    t.notOk(refusing.isAlive());
    await freed(t, server);
  });
});
