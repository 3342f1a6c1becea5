// Tests that the doctor finds every planted fault with its remedy, and nothing where all is well.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { examine } from '../../../daemon/cli/doctor/examine.ts';
import type { ReportRow, Examined } from '../../../daemon/cli/doctor/row.ts';
import { probe } from '../../../daemon/engine/probe/probe.ts';
import { selfSigned } from '../../embedded/certificate.ts';
import { launchEmbedded } from '../../embedded/launch.ts';
import { startBmuxd } from '../../daemon/bmuxd.ts';
import { sshdMissing } from '../../real/index.ts';
import { hasSshAgent, startAgent } from '../../real/agent.ts';
import { waitFor } from '../../real/child.ts';
import { realEnv } from '../../real/server.ts';
import { sshToServer } from '../../transport/ssh/far-server.ts';
import { MACHINE_FAULTS } from './machine-faults.ts';
import type { Fault, Spot } from './spot.ts';
import { TARGET_FAULTS } from './target-faults.ts';
import { VARIABLE_FAULTS } from './variable-faults.ts';

const FAULTS = [...MACHINE_FAULTS, ...TARGET_FAULTS, ...VARIABLE_FAULTS];

const folder = await mkdtemp(join(tmpdir(), 'bmuxd-doctor-'));
const gateways = await launchEmbedded({
  socketPath: join(folder, 'server.sock'),
  server: { epoch: 4 },
  tls: { compression: 'zstd' },
  iroh: { relays: 'disabled', compression: 'none', allowedKeys: [] },
});
// The roots of the system are hundreds of files, which each examination would read.
const roots = join(folder, 'roots.pem');
const half = '-----BEGIN CERTIFICATE-----\nAAAA\n';
await writeFile(roots, `${selfSigned(['roots.example']).certPem}${half}`);
const caFile = join(folder, 'ca.pem');
await writeFile(caFile, gateways.tls?.certPem ?? '');
t.teardown(async () => {
  await gateways.stop();
  await rm(folder, { recursive: true, force: true });
});

/** A place in which all is well, with one TLS target. */
async function spotFor(t: Test): Promise<Spot> {
  const own = await mkdtemp(join(tmpdir(), 'bd-'));
  const env = await realEnv(own);
  const { port = 0, fingerprint = '' } = gateways.tls ?? {};
  const { endpointId = '', address = '' } = gateways.iroh ?? {};
  const servers: Server[] = [];
  t.teardown(async () => {
    for (const server of servers) server.close();
    await rm(own, { recursive: true, force: true });
  });
  const config = (text: string): Promise<void> =>
    writeFile(
      join(own, 'config', 'bmux.toml'),
      `[connections.targets.prod]\ntransport = "tls"\nhost = "127.0.0.1"\nport = ${String(port)}\nserver_name = "localhost"\nca_file = "${caFile}"\n${text}`,
    );
  await config('');
  await writeFile(join(own, 'bmuxd.toml'), '');
  return {
    folder: own,
    env: {
      ...env,
      BMUXD_RUNTIME_DIR: join(own, 'd'),
      BMUXD_CONFIG: join(own, 'bmuxd.toml'),
      XDG_CONFIG_HOME: join(own, 'config'),
      SSL_CERT_FILE: roots,
    },
    gateway: { port, caFile, fingerprint },
    iroh: { endpointId, address },
    config,
    settings: (text) => writeFile(join(own, 'bmuxd.toml'), text),
    listen: async (server, where) => {
      servers.push(server);
      await new Promise<void>((resolve) => {
        if (typeof where === 'number') server.listen(where, '127.0.0.1', resolve);
        else server.listen(where, resolve);
      });
      // The test does not wait for connections that the doctor leaves.
      server.unref();
      const address = server.address();
      return typeof address === 'object' && address !== null ? address.port : 0;
    },
  };
}

function examined(spot: Spot, more: Partial<Examined> = {}): Promise<ReportRow[]> {
  return examine({
    env: spot.env,
    cwd: spot.folder,
    version: '0.1.0',
    platform: process.platform,
    execute: () => Promise.resolve(undefined),
    probe: (task) => probe(task, spot.env),
    ...more,
  });
}

const findingsIn = (rows: readonly ReportRow[]) => rows.flatMap(({ failure }) => failure ?? []);

t.test('nothing is found where all is well, and each step of a target has its time', async (t) => {
  const spot = await spotFor(t);
  await spot.settings('[log]\nlevel = "debug"\n');
  const truncated = async (): Promise<number | undefined> => (await gateways.status()).tls?.truncated;
  const before = await truncated();
  const rows = await examined(spot);
  t.equal(await truncated(), before, 'each connection ends with close_notify, so none is lost');
  t.strictSame(findingsIn(rows), []);
  const steps = rows.filter(({ area }) => area === 'target prod');
  t.strictSame(
    steps.map(({ what }) => what),
    ['plan', 'tcp', 'tls', 'connect', 'hello', 'round trip'],
  );
  t.ok(steps.every(({ ms }) => ms !== undefined && ms >= 0));
  t.match(steps[4]?.detail, 'epoch 4, compression zstd');
  const text = JSON.stringify(rows);
  t.match(text, `log.level = \\"debug\\" (${spot.env['BMUXD_CONFIG'] ?? ''}:2)`, 'origin of a setting');
  t.match(text, `${join(spot.folder, 'config', 'bmux.toml')}:4`, 'origin of a value of bmux');
});

t.test('a local server is not connected to by TCP', async (t) => {
  const rows = await examined(await spotFor(t), { target: 'local' });
  const [failed] = rows.filter(({ failure }) => failure?.code === 'server_not_running');
  t.equal(failed?.what, 'connect');
});

t.test('values of other targets are left out when one is tried', async (t) => {
  const spot = await spotFor(t);
  await spot.config('[connections.targets.prod-2]\ntransport = "local"\n[general]\nserver_timeout = 1\n');
  const valuesOf = async (target?: string): Promise<string> =>
    (await examined(spot, { target }))
      .filter(({ area, what }) => area === 'config' && what === 'value')
      .map(({ detail }) => detail)
      .join('\n');
  t.match(await valuesOf(), /targets\.prod\.(.|\n)*targets\.prod-2\./);
  const one = await valuesOf('prod');
  t.match(one, /targets\.prod\./);
  t.match(one, 'general.server_timeout');
  t.notMatch(one, 'prod-2');
});

t.test('an npm that says nothing in time has a text, as one that is missing', async (t) => {
  const spot = await spotFor(t);
  const npmOf = async (answer: string | undefined): Promise<string | undefined> => {
    const rows = await examined(spot, { execute: () => Promise.resolve(answer) });
    return rows.find(({ what }) => what === 'npm')?.detail;
  };
  t.equal(await npmOf('12.2.2\n'), '12.2.2');
  t.equal(await npmOf(''), 'told no version in time');
  t.equal(await npmOf(undefined), 'not found');
});

t.test('the steps of a way over SSH', { skip: sshdMissing() }, async (t) => {
  const spot = await spotFor(t);
  const { sshd, toml } = await sshToServer(t, join(folder, 'server.sock'));
  spot.env['PATH'] = sshd.path;
  const alias = ['Host far', 'HostName localhost', `HostKeyAlias [127.0.0.1]:${String(sshd.port)}`, ''];
  await writeFile(sshd.sshConfig, alias.join('\n'));
  const none = join(sshd.folder, 'none');
  await spot.config(toml('box', { host: 'far' }) + toml('strange', { known_hosts_file: none }));
  const rows = await examined(spot);
  const stepsOf = (target: string): ReportRow[] => rows.filter(({ area }) => area === `target ${target}`);
  const steps = stepsOf('box');
  t.strictSame(
    steps.map(({ what }) => what),
    ['plan', 'config', 'dns', 'tcp', 'host key', 'auth', 'bmux', 'hello', 'round trip'],
  );
  t.ok(steps.every(({ ms }) => ms !== undefined && ms >= 0));
  const text = steps.map(({ detail }) => detail).join('\n');
  t.match(
    text,
    /@localhost port \d+\n.*127\.0\.0\.1.*\n.*\n.*SHA256:\S+, known\n.*by publickey\n0\.0\.1-alpha\.4 as/,
  );
  t.strictSame(
    stepsOf('strange').map(({ what }) => what),
    ['plan', 'config', 'tcp', 'host key'],
  );
  t.match(findingsIn(rows), [{ code: 'ssh_host_key_unknown' }]);
  await writeFile(sshd.sshConfig, 'Nonsense yes\n');
  const broken = findingsIn(await examined(spot, { target: 'box' }));
  t.match(broken, [{ code: 'ssh_config_unusable', causes: [/line 1: Bad configuration option: nonsense/] }]);
});

t.test(
  'an iroh host: relay, host, path and SSH auth are steps of their own',
  { skip: !hasSshAgent() && 'ssh-agent not found' },
  async (t) => {
    const spot = await spotFor(t);
    const agent = await startAgent();
    t.teardown(() => agent.stop());
    const key = await agent.addKey('ed25519', 'ada');
    const host = await launchEmbedded({
      socketPath: join(spot.folder, 'far.sock'),
      server: { epoch: 4 },
      iroh: { relays: 'disabled', compression: 'none', allowedKeys: [key] },
    });
    t.teardown(() => host.stop());
    const { endpointId = '', address = '' } = host.iroh ?? {};
    await spot.config(
      `[connections.targets.far]\ntransport = "iroh"\nendpoint_id = "${endpointId}"\nrelay_url = "http://127.0.0.1:1/"\niroh_ip_addr = "${address}"\niroh_ssh_auth = true\n`,
    );
    spot.env['SSH_AUTH_SOCK'] = agent.socket;
    const rows = await examined(spot, { target: 'far' });
    t.strictSame(findingsIn(rows), [], 'a dead relay is no fault where the direct path works');
    const steps = rows.filter(({ area }) => area === 'target far');
    t.strictSame(
      steps.map(({ what }) => what),
      ['plan', 'relay', 'host', 'path', 'auth', 'connect', 'hello', 'round trip'],
    );
    t.match(steps[1]?.detail, /127\.0\.0\.1:1\/ does not answer: .*ECONNREFUSED/);
    t.equal(steps[3]?.detail, `direct to ${address}`);
    t.match(steps[4]?.detail, /^\S{20,} ada$/);
  },
);

const check = async (t: Test, { code, remedy, also, plant }: Fault): Promise<void> => {
  const spot = await spotFor(t);
  const more = (await plant(spot)) ?? {};
  const found = findingsIn(await examined(spot, more));
  const own = found.filter((failure) => failure.code === code);
  t.ok(
    own.length > 0,
    `${code} in ${found.map((failure) => `${failure.code} ${failure.detail}`).join('; ')}`,
  );
  t.match(own[0]?.remedy, remedy);
  const others = found.map((failure) => failure.code).filter((one) => one !== code);
  t.strictSame(
    others.filter((one) => also?.test(one) !== true),
    [],
    'and nothing else',
  );
};

t.test('every planted fault is found with its remedy', { jobs: 4 }, async (t) => {
  t.ok(FAULTS.length >= 25);
  for (const fault of FAULTS) void t.test(fault.name, (inner) => check(inner, fault));
});

t.test(
  'the command: a daemon with a problem, another way to say it, and a bundle without secrets',
  async (t) => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    t.teardown(() => taken.close());
    const { port } = taken.address() as AddressInfo;
    const bmuxd = await startBmuxd({
      settings: `[metrics]\nport = ${String(port)}\n`,
      config: '[connections]\ncontrol_plane_url = "https://me:sEcret7@127.0.0.1:1/"\n',
      env: { SSL_CERT_FILE: roots },
    });
    t.teardown(() => bmuxd.stop());
    await waitFor('the problem', async () => (await bmuxd.status()).problems.length > 0);
    // A target that somebody has asked for by a long address.
    await bmuxd.bmuxd(['ping', `tls://${'a.'.repeat(60)}invalid:1`]);
    const bundle = join(bmuxd.folder, 'report.json');
    const ran = await bmuxd.bmuxd(['doctor', '--bundle', bundle]);
    t.equal(ran.status, 1);
    t.match(ran.stdout, /^ {4}tls:\/\/a\.a\S+…\S+d:1 +failing, last error tls_unreachable/m);
    t.match(ran.stdout, /^ {4}bmuxd {6,40}\d/m, 'it does not widen the other rows');
    t.match(
      ran.stdout,
      /! metrics\.port .*\n.*Set metrics\.port in bmuxd\.toml.*\[metrics_port_unusable\]\n/,
    );
    t.match(
      ran.stdout,
      /roots\.pem: 1 certificates; left out: \S+roots\.pem: the section CERTIFICATE has no end\n/,
    );
    t.match(ran.stdout, /\n1 finding\.\n$/);
    t.match(ran.stderr, /read it before you send it/);
    const text = await readFile(bundle, 'utf8');
    t.notMatch(text + ran.stdout, 'sEcret7');
    t.match(JSON.parse(text), { report: { healthy: false }, log: [/\w/] });
    const typed = await bmuxd.bmuxd(['doctor', 'tls://me:sEcret8@127.0.0.1:1', '--bundle', bundle]);
    t.match(typed.stdout, /^target tls:\/\/…@127\.0\.0\.1:1$/m);
    t.notMatch((await readFile(bundle, 'utf8')) + typed.stdout, 'sEcret8');
    await writeFile(join(bmuxd.folder, 'settings', 'bmuxd.toml'), '');
    t.equal((await bmuxd.bmuxd(['reload'])).status, 0);
    const all = await bmuxd.bmuxd(['doctor', '--json']);
    t.match(JSON.parse(all.stdout), { schema: 1, healthy: true });
    t.equal(all.status, 0);
    await bmuxd.configure('bmux.toml', '[connections]\ndefault_target = 5\n');
    await waitFor('the problem', async () => (await bmuxd.status()).problems.length > 0);
    const wrong = await bmuxd.bmuxd(['doctor']);
    t.match(wrong.stdout, /caused by: \S+bmux\.toml:2: connections\.default_target: /);
    t.match(wrong.stdout, /\n1 finding\.\n$/, 'what the daemon and the files tell alike is one');
  },
);
