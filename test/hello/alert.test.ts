// A gateway that refuses connections with a TLS alert: during the handshake, and after it.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type TlsOptions } from 'node:tls';
import t, { type Test } from 'tap';
import { selfSigned } from '../embedded/certificate.ts';
import { failureOf } from '../transport/dialling.ts';
import { openerFor, planFor } from './opener.ts';

const folder = await mkdtemp(join(tmpdir(), 'bmuxd-alert-'));
t.teardown(() => rm(folder, { recursive: true, force: true }));
const { certPem, keyPem } = selfSigned();
const caFile = join(folder, 'ca.pem');
await writeFile(caFile, certPem);

/** Opens a stream to a gateway with these options. Returns the failure, and how many connections were made for it. */
async function refusalBy(t: Test, options: TlsOptions): Promise<[string, string, number]> {
  const server = createServer({ cert: certPem, key: keyPem, ...options });
  let connections = 0;
  server.on('connection', () => (connections += 1));
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as { port: number };
  const one = await openerFor(t);
  const route = { transport: 'tls', host: '127.0.0.1', port, serverName: 'localhost', caFile } as const;
  const { code, data } = await failureOf(one.open(planFor(route)));
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
