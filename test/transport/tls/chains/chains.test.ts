// Verification of chains of certificates: bmuxd accepts what bmux accepts, and nothing else. `compare.ts` beside this file asks the real bmux.
import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { lookUpShareLink } from '../../../../daemon/target/control-plane.ts';
import { HttpClient } from '../../../../daemon/target/http/client.ts';
import { Anchor } from '../../../../daemon/transport/tls/certificates/anchors.ts';
import { certificateParts } from '../../../../daemon/transport/tls/certificates/parts.ts';
import { SystemRoots } from '../../../../daemon/transport/tls/certificates/roots.ts';
import { PathSearch } from '../../../../daemon/transport/tls/paths.ts';
import { SystemTrust } from '../../../../daemon/transport/tls/system-trust.ts';
import { TlsContexts } from '../../../../daemon/transport/tls/tls.ts';
import { failureOf } from '../../dialling.ts';
import { chainCases, STRICTER } from './cases.ts';
import { gatewayOf, ownOutcome } from './gateway.ts';
import { issue, pemBlock, type Issued } from './issue.ts';

const folder = await mkdtemp(join(tmpdir(), 'bmuxd-chains-'));
t.teardown(() => rm(folder, { recursive: true, force: true }));
let files = 0;
const file = async (text: string | Buffer): Promise<string> => {
  const path = join(folder, `${String((files += 1))}.pem`);
  await writeFile(path, text);
  return path;
};
const pemOf = (all: readonly Issued[]): string => all.map(({ pem }) => pem).join('');
const without = await file('');
const contexts = (roots = without): TlsContexts =>
  new TlsContexts({ roots: new SystemRoots({ env: { SSL_CERT_FILE: roots } }) });

t.test('each chain is judged as by bmux', async (t) => {
  const all = contexts();
  for (const one of chainCases()) {
    const gateway = await gatewayOf(one).catch((error: Error) => error);
    if (gateway instanceof Error) {
      // OpenSSL 3.5 (Node 22 and later) does not load the certificate of each gateway that rustls presents.
      t.equal(one.accepted, false, `${one.name}: cannot be presented by this Node: ${gateway.message}`);
      continue;
    }
    const outcome = await ownOutcome(all, one, gateway, await file(pemOf(one.anchors)));
    gateway.close();
    t.equal(outcome.accepted, one.accepted && !STRICTER.has(one.name), `${one.name} ${outcome.text}`);
  }
});

const root = issue({ subject: 'Root', ca: true, keyUsage: 0x06 });
const leaf = issue({ subject: 'gateway', names: ['gateway.test'] }, root);
const others = (count: number): readonly Issued[] => {
  const { keys } = issue({ subject: 'Others' });
  return Array.from({ length: count }, (_, at) => issue({ subject: `Other ${String(at)}`, ca: true, keys }));
};

t.test('the anchor that has verified a gateway is used again', async (t) => {
  const all = contexts();
  const [old, now] = [issue({ subject: 'Root', ca: true }), root];
  const gateway = await gatewayOf({ chain: [leaf] });
  t.teardown(() => gateway.close());
  const caFile = await file(pemOf([old, now]));
  t.equal((await ownOutcome(all, {}, gateway, caFile)).accepted, true);
  t.equal(gateway.accepted(), 2, 'a connection for each of the two anchors');
  t.equal((await ownOutcome(all, {}, gateway, caFile)).accepted, true);
  t.equal(gateway.accepted(), 3, 'and one from then on');
  await writeFile(caFile, pemOf([old]));
  t.match(await ownOutcome(all, {}, gateway, caFile), {
    accepted: false,
    text: /Let ca_file .* hold the certificate of the CA/,
  });
  const before = gateway.accepted();
  await ownOutcome(all, {}, gateway, caFile);
  t.equal(gateway.accepted(), before + 1, 'nothing else can verify it: one connection');
  // The certificate of the gateway itself does not help where it has not signed itself.
  await writeFile(caFile, pemOf([leaf]));
  t.match(await ownOutcome(all, {}, gateway, caFile), {
    accepted: false,
    text: /hold the certificate of the CA/,
  });
});

t.test('a CA file with thousands of anchors holds up nothing', async (t) => {
  const caFile = await file(pemOf([...others(3000), root]));
  const gateway = await gatewayOf({ chain: [leaf] });
  t.teardown(() => gateway.close());
  const all = contexts();
  let turns = 0;
  let opening = true;
  const turn = (): void => {
    turns += 1;
    if (opening) setImmediate(turn);
  };
  turn();
  const opened = await Promise.all([1, 2, 3].map(() => ownOutcome(all, {}, gateway, caFile)));
  opening = false;
  t.strictSame(
    opened.map(({ accepted }) => accepted),
    [true, true, true],
  );
  t.ok(turns > 20, `${String(turns)} turns of the event loop`);
});

t.test('the system roots verify a gateway that the CA file does not', async (t) => {
  const gateway = await gatewayOf({ chain: [leaf] });
  t.teardown(() => gateway.close());
  const all = contexts(await file(root.pem));
  t.equal((await ownOutcome(all, {}, gateway, await file(pemOf(others(1))))).accepted, true);
});

t.test('what a CA file without certificates holds is said', async (t) => {
  const gateway = await gatewayOf({ chain: [leaf] });
  t.teardown(() => gateway.close());
  const all = contexts(await file(pemOf(others(1))));
  for (const [content, text] of [
    ['', /holds nothing: it is empty/],
    [root.der, /holds DER; convert it with/],
    [pemBlock(root.der, 'TRUSTED CERTIFICATE'), /holds an OpenSSL TRUSTED CERTIFICATE/],
    [pemBlock(root.der, 'PKCS7'), /holds PKCS #7/],
    [pemBlock(root.der, 'PRIVATE KEY'), /holds no CERTIFICATE section, only PRIVATE KEY/],
    ['hello', /holds no PEM section/],
    [`\ufeff${root.pem}`, /holds a byte order mark/],
    [root.pem.replaceAll(/^/gm, '  '), /holds PEM that is indented/],
  ] as const) {
    t.match(await ownOutcome(all, {}, gateway, await file(content)), { accepted: false, text });
  }
});

t.test('an extension that cannot be read is named, with its certificate', async (t) => {
  const all = contexts();
  const cases = chainCases();
  for (const [name, text] of [
    [
      'leaf: the key usage damaged',
      /its key usage cannot be read \(.*\): "CN=gateway"; .*OpenSSL refuses here/,
    ],
    ['middle: the issuer key id damaged', /its issuer key id cannot be read \(.*\): "CN=Middle"/],
    [
      'middle: the extended key usage damaged',
      /its extended key usage .*"CN=Middle".*: Let the gateway present/,
    ],
    ['middle: two alternative names', /: its alternative names cannot be read \(.*\): "CN=Middle": Let the/],
    [
      'root: the alternative names damaged',
      /certificate 1 \("CN=Root"\): its alternative names cannot be read/,
    ],
    ['root: the name constraints damaged within', /trusted in \S+, but its name constraints cannot be read/],
    ['leaf with another algorithm outside', /it cannot be read \(the algorithm .* two ways\): "CN=gateway"/],
  ] as const) {
    const one = cases.find((each) => each.name === name);
    if (one === undefined) throw new Error(name);
    const gateway = await gatewayOf(one);
    t.match(
      await ownOutcome(all, one, gateway, await file(pemOf(one.anchors))),
      { accepted: false, text },
      name,
    );
    gateway.close();
  }
  const broken =
    chainCases().find(({ name }) => name === 'root: the alternative names damaged')?.anchors ?? [];
  const twice = await file(pemOf([root, root, ...broken]));
  const failed = /certificate 3 \("CN=Root"\): its alternative names/;
  t.match(await ownOutcome(all, {}, { port: 1 }, twice), { text: failed }, 'as they stand in the file');
  const roots = new SystemRoots({ env: { SSL_CERT_FILE: await file(pemOf([root, ...broken])) } });
  const [source] = (await roots.current()).sources;
  t.equal(source?.certificates, 1);
  t.match(source?.problems, [/\.pem: certificate 2 \("CN=Root"\): its alternative names cannot be read/]);
});

t.test('others run between the signatures that a search checks, and the named key comes first', (t) => {
  const roots = [1, 2, 3].map(() => issue({ subject: 'Root', ca: true, keyIds: true }));
  const anchors = roots.map(({ der }) => new Anchor(der, 'x'));
  const stepsOf = (keyIds: boolean): unknown[] => {
    const { der } = issue({ subject: 'gateway', keyIds }, roots[2]);
    const presented = { ...certificateParts(der), certificate: new X509Certificate(der) };
    const paths = [...new PathSearch([presented], () => anchors).paths(false)];
    return paths.map((path) => path?.anchor);
  };
  t.strictSame(stepsOf(false), [undefined, undefined, undefined, anchors[2]]);
  t.strictSame(stepsOf(true), [undefined, anchors[2], undefined, undefined]);
  t.end();
});

t.test('the control plane is verified as a gateway is', async (t) => {
  const [old, now, other] = [1, 2, 3].map(() => issue({ subject: 'Root', ca: true, keyUsage: 0x06 }));
  if (old === undefined || now === undefined || other === undefined) throw new Error('three roots');
  const own = issue({ subject: 'plane', names: ['localhost'] }, now);
  const key = own.keys.privateKey.export({ type: 'pkcs8', format: 'pem' });
  const server = createServer({ cert: own.pem, key }, (_request, answer) => answer.end('hello'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const clientOf = async (roots: readonly Issued[]): Promise<HttpClient> => {
    const env = { SSL_CERT_FILE: await file(pemOf(roots)) };
    const http = new HttpClient({ env: {}, verified: new SystemTrust(new SystemRoots({ env })).verified });
    t.teardown(() => http.close());
    return http;
  };
  const get = async (roots: readonly Issued[], host = 'localhost'): Promise<string> => {
    const http = await clientOf(roots);
    const url = new URL(`https://${host}:${String(port)}/`);
    return (await http.get(url, {}, AbortSignal.timeout(60_000))).text(100);
  };
  t.equal(await get([old, now]), 'hello', 'two roots of one name');
  t.equal(await get([now, old]), 'hello', 'in both orders');
  await t.rejects(get([old, other]), /certificate signature failure; "CN=plane"/);
  await t.rejects(get([now], '127.0.0.1'), /not valid for 127\.0\.0\.1/);
  const limits = { get: (await clientOf([other])).get, timeoutMs: 60_000 };
  const looked = lookUpShareLink('demo', `https://localhost:${String(port)}`, 'token', limits);
  const { data } = await failureOf(looked);
  t.match(data, { code: 'control_plane_unreachable', causes: [/^localhost is not trusted: /] });
  t.match(data.remedy, /SSL_CERT_FILE/, 'the remedy is the one of an untrusted server');
});

t.test('a CA file is read as by bmux', async (t) => {
  const gateway = await gatewayOf({ chain: [leaf] });
  t.teardown(() => gateway.close());
  const all = contexts();
  const empty = { subject: 'Empty', more: [Buffer.from('30070603551d130400', 'hex')] };
  for (const [content, accepted] of [
    [`${root.pem.split('\n')[0] ?? ''}\n${root.pem}`, true],
    [`${root.pem.split('\n')[0] ?? ''}\n \n${root.pem}`, true],
    [`-----BEGIN PGP SIGNATURE-----\nVersion: 1\n-----END PGP SIGNATURE-----\n${root.pem}`, true],
    [`-----BEGIN PRIVATE KEY-----\nVersion: 1\n-----END PRIVATE KEY-----\n${root.pem}`, false],
    [issue(empty).pem + root.pem, false],
    ['#\n'.repeat(3 << 20) + root.pem, true],
  ] as const)
    t.match(await ownOutcome(all, {}, gateway, await file(content)), { accepted }, content.slice(0, 90));
});

t.test('a refusal names the certificate, the check and the remedy', async (t) => {
  const all = contexts();
  const refuse = async (
    chain: readonly Issued[],
    name: string,
    text: RegExp,
    roots: readonly Issued[] = [root],
  ): Promise<void> => {
    const gateway = await gatewayOf({ chain });
    const outcome = await ownOutcome(all, { serverName: name }, gateway, await file(pemOf(roots)));
    gateway.close();
    t.match(outcome, { accepted: false, text });
  };
  const names = { names: ['gateway.test'] };
  const expired = issue({ subject: 'gateway', ...names, from: -20, until: -10 }, root);
  const clock =
    /certificate has expired: "CN=gateway", valid from .* to .*; here it is .*: .* correct the clock/;
  await refuse([expired], 'gateway.test', clock);
  const early = issue({ subject: 'gateway', ...names, from: 10, until: 20 }, root);
  await refuse([early], 'gateway.test', /certificate is not yet valid: "CN=gateway", .* correct the clock/);
  const middle = issue({ subject: 'Middle', ca: true, from: -20, until: -10 }, root);
  const below = issue({ subject: 'gateway', ...names }, middle);
  await refuse([below, middle], 'gateway.test', /certificate has expired: "CN=Middle"/);
  const unsigning = issue({ subject: 'Middle', ca: true, keyUsage: 0x80 }, root);
  await refuse(
    [issue({ subject: 'gateway', ...names }, unsigning), unsigning],
    'gateway.test',
    /certificate signing: "CN=Middle": Let the gateway present certificates without that fault\. Or trust/,
  );
  await refuse(
    [issue({ subject: 'gateway', ...names, keyUsage: 0x04 }, root)],
    'gateway.test',
    /unsuitable certificate purpose: "CN=gateway": Let the gateway present/,
  );
  const strange = issue({ subject: 'Middle', ca: true, keyIds: true }, root);
  await refuse(
    [issue({ subject: 'gateway', ...names, strangeKeyId: true }, strange), strange],
    'gateway.test',
    /OpenSSL refuses here what bmux may accept .*let the gateway present another certificate\. Or trust/,
  );
  const both = issue({ subject: 'gateway', ...names, ca: true });
  const ofCa = /certificate of a CA cannot be a gateway's own: "CN=gateway".*without that fault\. Or trust/;
  for (const anchors of [[both], [root]]) await refuse([both], 'gateway.test', ofCa, anchors);
  const former = issue({ subject: 'Root', ca: true });
  await refuse([leaf], 'else.test', /is not valid for else\.test.*Set server_name to one of the names/, [
    former,
    root,
  ]);
  await refuse(
    [leaf],
    'else.test',
    /Set server_name to one of the names of the certificate: DNS:gateway\.test/,
  );
  await refuse([below], 'gateway.test', /"CN=gateway" of issuer "CN=Middle" \(a name that is not trusted\)/);
});
