// A gateway that refuses connections with a TLS alert: during the handshake, and after it.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer as createTcp, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type TlsOptions } from 'node:tls';
import t, { type Test } from 'tap';
import type { Failure } from '../../daemon/base/failure.ts';
import { selfSigned } from '../embedded/certificate.ts';
import { failureOf } from '../transport/dialling.ts';
import { alertingGateway } from '../transport/tls/alerting.ts';
import { openerFor, planFor } from './opener.ts';

const folder = await mkdtemp(join(tmpdir(), 'bmuxd-alert-'));
t.teardown(() => rm(folder, { recursive: true, force: true }));
const { certPem, keyPem } = selfSigned();
const caFile = join(folder, 'ca.pem');
await writeFile(caFile, certPem);

/** Opens a stream to `server`, which does not listen yet. Returns the failure. */
async function failureAt(t: Test, server: Server): Promise<Failure> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as { port: number };
  const one = await openerFor(t);
  const route = { transport: 'tls', host: '127.0.0.1', port, serverName: 'localhost', caFile } as const;
  return failureOf(one.open(planFor(route)));
}

/** Opens a stream to a gateway with these options. Returns the failure, and how many connections were made for it. */
async function refusalBy(t: Test, options: TlsOptions): Promise<[string, string, number]> {
  const server = createServer({ cert: certPem, key: keyPem, ...options });
  let connections = 0;
  server.on('connection', () => (connections += 1));
  server.on('tlsClientError', () => undefined);
  const { code, data } = await failureAt(t, server);
  return [code, [data.detail, ...data.causes].join(': '), connections];
}

const CANDIDATES = 4;

t.test('a gateway that wants a client certificate says so after the handshake', async (t) => {
  const [code, text, connections] = await refusalBy(t, { requestCert: true, rejectUnauthorized: true });
  t.equal(code, 'tls_alert');
  t.match(text, /received fatal alert: CertificateRequired/);
  t.ok(connections <= CANDIDATES, `${String(connections)} connections: no candidate is tried again`);
});

t.test('an alert during the handshake is named, too', async (t) => {
  const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
  const [code, text, connections] = await refusalBy(t, old);
  t.equal(code, 'tls_handshake_failed');
  t.match(text, /received fatal alert: ProtocolVersion/);
  t.ok(connections <= CANDIDATES);
});

t.test('a server that speaks no TLS is told as that', async (t) => {
  const server = createTcp((socket) => {
    socket.on('error', () => undefined).once('data', () => socket.end('SSH-2.0-OpenSSH_9.2\r\n'));
  });
  const { code, data } = await failureAt(t, server);
  t.equal(code, 'tls_handshake_failed');
  t.strictSame(data.causes, ['the answer is not TLS (wrong version number)']);
});

t.test('any alert after the handshake is named once, however the connection ends', async (t) => {
  const alerts = [
    [48, 'UnknownCA'],
    [45, 'CertificateExpired'],
    [70, 'ProtocolVersion'],
    [116, 'CertificateRequired'],
  ] as const;
  const first = { version: 'TLSv1.3', alert: 48, after: 'handshake', end: 'close' } as const;
  const gateway = await alertingGateway(t, first);
  const file = join(folder, 'alerting.pem');
  await writeFile(file, gateway.certPem);
  const { port } = gateway;
  const route = { transport: 'tls', host: '127.0.0.1', port, serverName: 'localhost', caFile: file } as const;
  let round = 0;
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const after of ['handshake', 'byte'] as const) {
      for (const end of ['close', 'reset', 'stay'] as const) {
        const [alert, name] = alerts[round % alerts.length] ?? alerts[0];
        round += 1;
        gateway.now = { version, alert, after, end };
        gateway.connections = 0;
        const one = await openerFor(t);
        const { code, data } = await failureOf(one.open(planFor(route)));
        const what = `${version}, after the ${after}, ${end}`;
        t.equal(code, 'tls_alert', what);
        t.match(data.detail, `received fatal alert: ${name}`, what);
        t.ok(gateway.connections <= CANDIDATES, what);
        gateway.connections = 0;
        t.equal((await failureOf(one.open(planFor(route)))).code, 'tls_alert', what);
        t.equal(gateway.connections, 1, `${what}: it has refused before`);
      }
    }
  }
});
