// The inputs that bmuxd accepts and bmux refuses (docs/targets.md, "Where bmuxd is stricter than bmux"): what bmuxd does with each, and the
// real bmux beside it.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { SystemRoots } from '../../../daemon/transport/tls/certificates/roots.ts';
import { SystemTrust } from '../../../daemon/transport/tls/system-trust.ts';
import { TlsContexts } from '../../../daemon/transport/tls/tls.ts';
import { HttpClient } from '../../../daemon/target/http/client.ts';
import { lookUpShareLink } from '../../../daemon/target/control-plane.ts';
import { failureOf } from '../../policy/failure-of.ts';
import { enclosed, runBmux } from '../../policy/real-bmux.ts';
import { realBmux } from '../../real/index.ts';
import { letThrough, peer } from '../../target/http/rig.ts';
import { gatewayOf, ownOutcome } from './chains/gateway.ts';
import { issue } from './chains/issue.ts';

const folder = await mkdtemp(join(tmpdir(), 'bmuxd-laxer-'));
t.teardown(() => rm(folder, { recursive: true, force: true }));
const root = issue({ subject: 'Root', ca: true, keyUsage: 0x06 });
let folders = 0;

/** What the real bmux says to `bmux list-sessions` with this config and environment; undefined without it. */
async function real(config: string, target: string, env: Readonly<Record<string, string>>) {
  const program = realBmux();
  if (program === undefined) return undefined;
  const place = join(folder, String((folders += 1)));
  const own = enclosed(place);
  for (const dir of [own['BMUX_CONFIG_DIR'], own['BMUX_RUNTIME_DIR']])
    await mkdir(dir ?? '', { recursive: true, mode: 0o700 });
  await writeFile(join(own['BMUX_CONFIG_DIR'] ?? '', 'bmux.toml'), config);
  await writeFile(join(own['BMUX_RUNTIME_DIR'] ?? '', 'auth-state.json'), '{"access_token":"t"}', {
    mode: 0o600,
  });
  return runBmux(program, ['--target', target, 'list-sessions'], { ...own, ...env });
}

t.test('a bundle of the system with a block that has no end: the root behind it counts', async (t) => {
  const other = issue({ subject: 'Other', ca: true }).pem;
  const chain = [issue({ subject: 'gateway', names: ['gateway.test'] }, root)];
  // One for each program, since a gateway may count a handshake after its client has refused it.
  const [ofOwn, gateway] = [await gatewayOf({ chain }), await gatewayOf({ chain })];
  t.teardown(() => {
    ofOwn.close();
    gateway.close();
  });
  const config = `[connections.targets.gw]\ntransport = "tls"\nhost = "127.0.0.1"\nport = ${String(gateway.port)}\nserver_name = "gateway.test"\n`;
  const rows: [name: string, text: string, own: boolean, real: boolean][] = [
    ['whole', other + root.pem, true, true],
    ['another label', other.replace('END CERTIFICATE', 'END TRUSTED CERTIFICATE') + root.pem, true, false],
    ['cut off', `${other.slice(0, 300)}\n${root.pem}`, true, false],
    ['another label at the end', root.pem + other.replace('END CERTIFICATE', 'END X509 CRL'), true, true],
    ['another label at the root', other + root.pem.replace('END CERTIFICATE', 'END X'), false, false],
  ];
  for (const [name, text, own, theirs] of rows) {
    const bundle = join(folder, `${name}.pem`);
    await writeFile(bundle, text);
    const contexts = new TlsContexts({ roots: new SystemRoots({ env: { SSL_CERT_FILE: bundle } }) });
    t.equal((await ownOutcome(contexts, {}, ofOwn)).accepted, own, name);
    const before = gateway.accepted();
    if ((await real(config, 'gw', { SSL_CERT_FILE: bundle })) === undefined)
      t.comment('real bmux not found: not compared');
    else t.equal(gateway.accepted() > before, theirs, `${name}, bmux`);
  }
});

t.test('a control plane at an IPv6 address behind a proxy', async (t) => {
  const bundle = join(folder, 'roots.pem');
  await writeFile(bundle, root.pem);
  const proxy = await peer(letThrough);
  t.teardown(() => proxy.close());
  const env = { HTTPS_PROXY: `http://127.0.0.1:${String(proxy.port)}` };
  const roots = new SystemRoots({ env: { SSL_CERT_FILE: bundle } });
  const http = new HttpClient({ env, verified: new SystemTrust(roots).verified });
  t.teardown(() => http.close());
  for (const names of [['::1'], ['127.0.0.1']]) {
    const own = issue({ subject: 'plane', names }, root);
    const key = own.keys.privateKey.export({ type: 'pkcs8', format: 'pem' });
    const server = createServer({ cert: own.pem, key }, (_request, answer) =>
      answer.end('{"target":"local"}'),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => {
      server.closeAllConnections();
      server.close();
    });
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? String(address.port) : '';
    // The proxy leads to 127.0.0.1, so the machine needs no IPv6.
    const plane = `https://[::1]:${port}`;
    const limits = { get: http.get, timeoutMs: 60_000 };
    const look = () => lookUpShareLink('demo', plane, 'token', limits);
    if (names[0] === '::1') t.match(await look(), { target: 'local' });
    else t.match(await failureOf(look), { causes: [/not valid for ::1/] });
    t.match(proxy.heads.at(-1), new RegExp(`^CONNECT \\[::1\\]:${port} `));

    const said = await real(`[connections]\ncontrol_plane_url = "${plane}"\n`, 'bmux://demo', {
      ...env,
      SSL_CERT_FILE: bundle,
    });
    if (said === undefined) t.comment('real bmux not found: not compared');
    else t.match(`${said.stdout}${said.stderr}`, names[0] === '::1' ? /Invalid Server Name/i : /./);
  }
});
