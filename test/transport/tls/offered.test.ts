// What bmuxd offers in a handshake: a gateway that has nothing of it is refused, as by bmux.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type TlsOptions } from 'node:tls';
import t, { type Test } from 'tap';
import { SystemRoots } from '../../../daemon/transport/tls/certificates/roots.ts';
import { TlsContexts } from '../../../daemon/transport/tls/tls.ts';
import { enclosed, runBmux } from '../../policy/real-bmux.ts';
import { realBmux } from '../../real/index.ts';
import { ownOutcome } from './chains/gateway.ts';
import { issue, rsaKeys } from './chains/issue.ts';

const folder = await mkdtemp(join(tmpdir(), 'bmuxd-offered-'));
t.teardown(() => rm(folder, { recursive: true, force: true }));
const roots = new SystemRoots({ env: { SSL_CERT_FILE: '', SSL_CERT_DIR: '' } });
const contexts = new TlsContexts({ roots });
const root = issue({ subject: 'Root', ca: true, keyUsage: 0x06 });
const names = ['gateway.test'];
const ofEcdsa = issue({ subject: 'gateway', names }, root);
const ofRsa = issue({ subject: 'gateway', names, keys: rsaKeys(2048) }, root);
const caFile = join(folder, 'ca.pem');
await writeFile(caFile, root.pem);

/** A gateway with these options, which ends each connection after the handshake. */
async function gatewayWith(t: Test, options: TlsOptions, { keys, pem }: typeof ofRsa) {
  const key = keys.privateKey.export({ type: 'pkcs8', format: 'pem' });
  const server = createServer({ cert: pem, key, ...options }, (socket) => {
    socket.on('error', () => undefined);
    socket.end();
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const address = server.address();
  return { port: typeof address === 'object' && address !== null ? address.port : 0 };
}

const only12 = (ciphers: string): TlsOptions => ({ maxVersion: 'TLSv1.2', ciphers });
const ROWS: readonly [name: string, options: TlsOptions, own: typeof ofRsa, accepted: boolean][] = [
  ['GCM', only12('ECDHE-RSA-AES256-GCM-SHA384'), ofRsa, true],
  ['ChaCha20', only12('ECDHE-ECDSA-CHACHA20-POLY1305'), ofEcdsa, true],
  ['ChaCha20 with TLS 1.3', { ciphers: 'TLS_CHACHA20_POLY1305_SHA256', minVersion: 'TLSv1.3' }, ofRsa, true],
  ['P-256', { ecdhCurve: 'P-256' }, ofEcdsa, true],
  ['P-384', { ecdhCurve: 'P-384' }, ofEcdsa, true],
  ['CBC', only12('ECDHE-RSA-AES128-SHA256'), ofRsa, false],
  ['CBC with SHA-1', only12('ECDHE-RSA-AES256-SHA'), ofRsa, false],
  ['an RSA key exchange', only12('AES128-GCM-SHA256'), ofRsa, false],
  ['finite fields', { ...only12('DHE-RSA-AES128-GCM-SHA256'), dhparam: 'auto' }, ofRsa, false],
  ['CCM', only12('ECDHE-ECDSA-AES128-CCM'), ofEcdsa, false],
  ['RSA with SHA-512', { ...only12('DEFAULT'), sigalgs: 'RSA+SHA512' }, ofRsa, true],
  ['RSA with SHA-224', { ...only12('DEFAULT@SECLEVEL=0'), sigalgs: 'RSA+SHA224' }, ofRsa, false],
  ['ECDSA with SHA-224', { ...only12('DEFAULT@SECLEVEL=0'), sigalgs: 'ECDSA+SHA224' }, ofEcdsa, false],
  ['SHA-1', { ...only12('DEFAULT@SECLEVEL=0'), sigalgs: 'RSA+SHA1' }, ofRsa, false],
  ['P-521', { ecdhCurve: 'P-521' }, ofEcdsa, false],
  ['X448', { ecdhCurve: 'X448' }, ofEcdsa, false],
  ['finite fields with TLS 1.3', { ecdhCurve: 'ffdhe2048', minVersion: 'TLSv1.3' }, ofEcdsa, false],
];

t.test('a gateway that has only', async (t) => {
  const program = realBmux();
  if (program === undefined) t.comment('real bmux not found: not compared');
  for (const [index, [name, options, own, accepted]] of ROWS.entries()) {
    const gateway = await gatewayWith(t, options, own);
    const outcome = await ownOutcome(contexts, {}, gateway, caFile);
    t.match(outcome, accepted ? { accepted } : { accepted, text: /alert: HandshakeFailure/ }, name);
    if (program === undefined) continue;
    const env = enclosed(join(folder, String(index)));
    const config = env['BMUX_CONFIG_DIR'] ?? '';
    await mkdir(config, { recursive: true });
    const target = `transport = "tls"\nhost = "127.0.0.1"\nport = ${String(gateway.port)}\nserver_name = "gateway.test"\n`;
    await writeFile(
      join(config, 'bmux.toml'),
      `[connections.targets.gw]\n${target}ca_file = ${JSON.stringify(caFile)}\n`,
    );
    const { stderr } = await runBmux(program, ['--target', 'gw', 'list-sessions'], env);
    t.equal(!stderr.includes('HandshakeFailure'), accepted, `${name}, bmux: ${stderr}`);
  }
});
