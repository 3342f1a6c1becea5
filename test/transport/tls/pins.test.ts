// Trust in gateways that no certificate authority verifies: pins, and the modes of `connections.tls_trust`.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import type { GatewayTrust, TlsRoute } from '../../../daemon/engine-protocol/plan.ts';
import { endGracefully } from '../../../daemon/transport/end.ts';
import { SystemRoots } from '../../../daemon/transport/tls/certificates/roots.ts';
import { TlsContexts } from '../../../daemon/transport/tls/tls.ts';
import { selfSigned, type Certificate } from '../../embedded/certificate.ts';
import { failureOf, readBytes, within } from '../dialling.ts';

const folder = await mkdtemp(join(tmpdir(), 'bmuxd-pins-'));
t.teardown(() => rm(folder, { recursive: true, force: true }));
const gateway = selfSigned(['gateway.test']);
const other = selfSigned(['gateway.test']);
const caOfOther = join(folder, 'other.pem');
const caOfGateway = join(folder, 'gateway.pem');
await writeFile(caOfOther, other.certPem);
await writeFile(caOfGateway, gateway.certPem);

const contexts = (): TlsContexts =>
  new TlsContexts({ roots: new SystemRoots({ env: { SSL_CERT_FILE: caOfOther } }) });

/** An echo server, and a route to it. Its key in the store is `key`. */
async function start(t: Test, { certPem, keyPem }: Certificate = gateway) {
  const server = createServer({ cert: certPem, key: keyPem, allowHalfOpen: true } as object, (socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as { port: number };
  const store = join(folder, `${String(port)}.toml`);
  const route = (trust?: Omit<GatewayTrust, 'store'>, caFile?: string): TlsRoute => ({
    transport: 'tls',
    host: '127.0.0.1',
    port,
    serverName: 'gateway.test',
    ...(caFile === undefined ? {} : { caFile }),
    ...(trust === undefined ? {} : { trust: { ...trust, store } }),
  });
  return { key: `127.0.0.1:${String(port)}`, store, route };
}

async function visit(all: TlsContexts, to: TlsRoute): Promise<boolean> {
  const { stream } = await all.open(to, 'prod', within(10_000));
  const reused = (stream as TLSSocket).isSessionReused();
  stream.write('hello');
  await readBytes(stream, 5);
  await endGracefully(stream, 2000);
  return reused;
}

const pinOf = (fingerprint: string, from: 'declarative config' | 'local known-gateways store') =>
  ({ mode: 'prompt', pin: { fingerprint, from } }) as const;

t.test('a pin is trusted whatever the name, also on a resumed session', async (t) => {
  const { route } = await start(t);
  const all = contexts();
  const pinned = route(pinOf(gateway.fingerprint, 'local known-gateways store'));
  const named = { ...pinned, serverName: 'else.test' };
  t.equal(await visit(all, named), false);
  t.equal(await visit(all, named), true, 'the second visit resumes');
  t.equal(
    await visit(all, route(pinOf(` ${gateway.fingerprint.toUpperCase()} `, 'declarative config'))),
    false,
    'the case does not count; another pin has no tickets of the first',
  );
  t.match(await failureOf(visit(all, { ...named, trust: undefined } as never)), {
    code: 'tls_handshake_failed',
    data: { causes: [/is unknown; fingerprint SHA256:/] },
  });
});

t.test('a changed certificate is refused with both fingerprints', async (t) => {
  const { key, route } = await start(t);
  const from = 'local known-gateways store';
  const failure = await failureOf(visit(contexts(), route(pinOf('SHA256:ab', from))));
  t.match(failure, {
    code: 'tls_identity_changed',
    data: {
      detail: "TLS handshake failed for target 'prod'",
      causes: [
        `bmux TLS gateway identity changed for ${key}; expected SHA256:ab from ${from}, received ${gateway.fingerprint}`,
        /self-signed/,
      ],
      remedy: new RegExp(`bmuxd trust remove ${key}.*bmuxd trust add ${key}`),
    },
  });
});

t.test('what the roots or the CA file verify needs no pin', async (t) => {
  const { route } = await start(t);
  t.equal(await visit(contexts(), route(pinOf('SHA256:ab', 'declarative config'), caOfGateway)), false);
  const of = await start(t, other);
  t.equal(await visit(contexts(), of.route({ mode: 'require_known' })), false);
});

t.test('an unknown gateway is refused with its fingerprint and the command that trusts it', async (t) => {
  const { key, route } = await start(t);
  const { data } = await failureOf(visit(contexts(), route()));
  t.equal(
    data.causes[0],
    `bmux TLS gateway ${key} is unknown; fingerprint ${gateway.fingerprint}; trust prompt required`,
  );
  t.match(data.remedy, `bmuxd trust add ${key} --fingerprint ${gateway.fingerprint}`);
  const required = await failureOf(visit(contexts(), route({ mode: 'require_known' })));
  t.equal(
    required.data.causes[0],
    `bmux TLS gateway ${key} is unknown; add a declarative pin or run 'bmux remote trust add tls://${key}'`,
  );
  const problem = { code: 'known_gateways_unparsable', detail: 'broken', remedy: '', exitStatus: 6 };
  const broken = route({ mode: 'prompt', problem: { ...problem, status: 500, causes: [] } });
  t.equal((await failureOf(visit(contexts(), broken))).code, 'known_gateways_unparsable');
});

t.test('trust_new stores the first certificate, and refuses another one', async (t) => {
  const { key, route, store } = await start(t);
  const all = contexts();
  await Promise.all([1, 2, 3, 4].map(() => visit(all, route({ mode: 'trust_new' }))));
  const text = await readFile(store, 'utf8');
  t.match(text, `[gateways."${key}"]`);
  t.match(text, gateway.fingerprint);
  await writeFile(store, text.replace(gateway.fingerprint, other.fingerprint));
  t.equal((await failureOf(visit(all, route({ mode: 'trust_new' })))).code, 'tls_identity_changed');
  await rm(store);
  t.match(
    await failureOf(visit(all, route({ mode: 'trust_new' }, caOfOther))),
    { code: 'tls_handshake_failed' },
    'a CA file that does not verify the gateway is the last word',
  );
  await t.rejects(readFile(store));
  await writeFile(store, 'junk =');
  t.equal((await failureOf(visit(all, route({ mode: 'trust_new' })))).code, 'known_gateways_unparsable');
});
