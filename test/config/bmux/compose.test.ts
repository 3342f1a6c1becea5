// docs/bmux-protocol.md, "Config layers" and "Named targets": the meaning of each key after reading.
import t from 'tap';
import { isSocketAddress, type ComposeFacts } from '../../../daemon/config/bmux/compose.ts';
import { failureOf } from '../../policy/failure-of.ts';
import { compose, timeout } from './composed.ts';

t.test('defaults', (t) => {
  const { config, warnings } = compose(['', '[connections.targets.a]']);
  t.strictSame(warnings, []);
  t.strictSame(config.general, { serverTimeoutMs: 5000 });
  t.strictSame(config.behavior, {
    staleBuildAction: 'ignore',
    compression: { enabled: true, remote: 'auto' },
  });
  t.strictSame(config.connections.targets.get('a'), {
    transport: 'local',
    irohSshAuth: false,
    strictHostKeyChecking: true,
    remoteBmuxPath: 'bmux',
    connectTimeoutMs: 8000,
    serverStartMode: 'auto',
  });
  t.equal(config.connections.defaultTarget, undefined);
  t.equal(config.connections.shareLinks.size, 0);
  t.end();
});

t.test('every key', (t) => {
  const { config } = compose(`
    general.server_timeout = 7
    [connections]
    default_target = "a"
    control_plane_url = "https://cp"
    share_links = { demo = "iroh://x", "__proto__" = "tls://y" }
    [connections.targets.a]
    transport = "ssh"
    host = "h"
    user = "u"
    port = 65535
    identity_file = "~/id"
    known_hosts_file = "$SET/k"
    ca_file = "/ca"
    server_name = "s"
    endpoint_id = "e"
    relay_url = "r"
    iroh_ip_addr = "[::1]:80"
    iroh_ssh_auth = true
    strict_host_key_checking = false
    jump = "j"
    remote_bmux_path = "/bmux"
    connect_timeout_ms = 0
    server_start_mode = "require_running"
    default_session = "d"
    [connections.targets."__proto__"]
    host = "p"
    [behavior]
    stale_build_action = "error"
    compression = { enabled = false, remote = "lz4" }
  `);
  t.equal(config.general.serverTimeoutMs, 7);
  t.strictSame([...config.connections.shareLinks], [['demo', 'iroh://x'], ['__proto__', 'tls://y']]); // oxfmt-ignore
  t.match(config.connections, { defaultTarget: 'a', controlPlaneUrl: 'https://cp' });
  t.strictSame(config.behavior, {
    staleBuildAction: 'error',
    compression: { enabled: false, remote: 'lz4' },
  });
  t.equal(config.connections.targets.get('__proto__')?.host, 'p', 'a name like any other');
  t.strictSame(config.connections.targets.get('a'), {
    transport: 'ssh',
    host: 'h',
    user: 'u',
    port: 65535,
    serverName: 's',
    endpointId: 'e',
    relayUrl: 'r',
    irohIpAddr: '[::1]:80',
    jump: 'j',
    defaultSession: 'd',
    identityFile: '/h/id',
    knownHostsFile: 'set/k',
    caFile: '/ca',
    irohSshAuth: true,
    strictHostKeyChecking: false,
    remoteBmuxPath: '/bmux',
    connectTimeoutMs: 1,
    serverStartMode: 'require_running',
  });
  t.end();
});

t.test('times that no timer can wait for', (t) => {
  t.equal(timeout('general.server_timeout = 0'), 5000);
  t.equal(timeout('general.server_timeout = 9223372036854775807'), 2 ** 31 - 1 - 60_000);
  t.end();
});

t.test('what is not used is ignored', (t) => {
  compose(`
    status_bar = 1
    appearance.status_position = "top"
    plugins = 3
    [connections]
    hosted_mode = "p2p"
    recent_targets = []
    tls_trust = { mode = "prompt", known_gateways."h:1" = { fingerprint_sha256 = "SHA256:0" } }
    iroh_ssh_access = { enabled = true }
    [connections.targets.a]
    unknown = 1
    [server.gateway]
    enabled = true
    listen = "127.0.0.1:1"
    [behavior.compression]
    level = 3
  `);
  t.end();
});

t.test('merging: tables by key, everything else replaced', (t) => {
  const { config } = compose([
    'connections.targets.a = { host = "one", port = 1 }\nconnections.share_links = { x = "1" }',
    'connections.targets.a.host = "two"\n[connections.targets.b]\n[connections.share_links]\ny = "2"',
  ]);
  t.match(config.connections.targets.get('a'), { host: 'two', port: 1 });
  t.ok(config.connections.targets.has('b'));
  t.strictSame([...config.connections.shareLinks.keys()], ['x', 'y']);
  t.equal(timeout(['general = 3', '[general]\nserver_timeout = 9']), 9, 'a table replaces what is none');
  t.end();
});

const WRONG: readonly (readonly [texts: string | readonly string[], detail: string])[] = [
  [['# 1\n[connections.targets.a]\ntransport = "TLS"', '[connections.targets.a]\nport = 1'], '/0.toml:3: connections.targets.a.transport: "TLS" is not "local", "tls", "iroh" or "ssh"'],
  [['[connections.targets.a]\nport = 1', '\n[connections.targets.a]\nport = 70000'], '/1.toml:3: connections.targets.a.port: 70000 is not a whole number from 0 to 65535'],
  ['[connections.targets."x y"]\nhost = 3', '/0.toml:2: connections.targets."x y".host: 3 is not a string'],
  ['[connections.targets]\na = 3', '/0.toml:2: connections.targets.a: 3 is not a table'],
  ['connections = 3', '/0.toml:1: connections: 3 is not a table'],
  ['[connections.share_links]\nx = 1', '/0.toml:2: connections.share_links.x: 1 is not a string'],
  ['[connections.targets.a]\niroh_ip_addr = "localhost:1"', '/0.toml:2: connections.targets.a.iroh_ip_addr: "localhost:1" is not a socket address (IP:PORT)'],
  ['general.server_timeout = -1', '/0.toml:1: general.server_timeout: -1 is not a whole number, 0 or more'],
  ['general.server_timeout = 1.5', '/0.toml:1: general.server_timeout: 1.5 is not a whole number, 0 or more'],
  ['behavior.stale_build_action = "Warn"', '/0.toml:1: behavior.stale_build_action: "Warn" is not "ignore", "warn" or "error"'],
  ['[behavior]\ncompression.remote = "snappy"', '/0.toml:2: behavior.compression.remote: "snappy" is not "auto", "none", "zstd" or "lz4"'],
  ['[behavior.compression]\nenabled = "yes"', '/0.toml:2: behavior.compression.enabled: "yes" is not true or false'],
  ['[composition]\nactive_profile = "p"\n[composition.profiles.P.patch.general]\n\nserver_timeout = "x"', '/0.toml:5: general.server_timeout: "x" is not a whole number, 0 or more'],
]; // oxfmt-ignore

t.test('errors name file, line and key', async (t) => {
  for (const [texts, detail] of WRONG) {
    t.match(await failureOf(() => compose(texts)), { code: 'config_value', detail });
  }
});

t.test('socket addresses', (t) => {
  for (const good of ['1.2.3.4:80', '[::1]:0', '[::1%1]:80', '1.2.3.4:080', '[::ffff:1.2.3.4]:65535']) {
    t.ok(isSocketAddress(good), good);
  }
  for (const bad of ['', '1.2.3.4', '1.2.3.4:', '1.2.3.04:80', ' 1.2.3.4:80', '1.2.3.4:+80', '::1:80', '[::1]:65536', 'h:1', '[::1%eth0]:1']) {
    t.notOk(isSocketAddress(bad), bad);
  }
  t.end();
}); // oxfmt-ignore

t.test('variables in paths', (t) => {
  const at = (written: string, facts: Partial<ComposeFacts> = {}) => {
    const { config, warnings } = compose(`[connections.targets.a]\nca_file = '${written}'`, facts);
    return [config.connections.targets.get('a')?.caFile, warnings];
  };
  const rows: readonly (readonly [string, string, ...string[]])[] = [
    ['~', '/h'],
    ['~/x', '/h/x'],
    ['~user/x', '~user/x'],
    ['a~', 'a~'],
    ['$SET/${SET}', 'set/set'],
    ['$$SET$$', '$SET$'],
    ['$', '$'],
    ['$1', '$1'],
    ['${1x}', '${1x}'],
    ['${open', '${open'],
    ['${SET:-x}', '${SET:-x}'],
    [
      '$NOPE/$NOPE',
      '$NOPE/$NOPE',
      'unresolved env var NOPE in connections.targets.a.ca_file; keeping literal token',
    ],
    ['${NOPE}', '${NOPE}', 'unresolved env var NOPE in connections.targets.a.ca_file; keeping literal token'],
  ];
  for (const [written, path, ...warnings] of rows) t.strictSame(at(written), [path, warnings], written);
  t.strictSame(
    at('$ONLY$SET', { daemon: { ONLY: 'd', SET: 'other' } }),
    ['dset', ['env var ONLY in connections.targets.a.ca_file is taken from the environment of bmuxd']],
    "the caller's environment first",
  );
  t.end();
});

t.test(
  'a config of 10,000 targets is as good as a small one, and a mistake in it has its line',
  async (t) => {
    const lines: string[] = [];
    for (let i = 0; i < 10_000; i += 1) {
      const n = String(i);
      lines.push(
        `[connections.targets.t${n}]\ntransport = "tls"\nhost = "gateway-${n}.example.com"\nca_file = "~/${n}.pem"\n`,
      );
    }
    const text = lines.join('\n');
    const { config } = compose(text);
    t.equal(config.connections.targets.size, 10_000);
    t.match(config.connections.targets.get('t9999'), { host: 'gateway-9999.example.com' });
    const failure = await failureOf(() => compose(`${text}port = "x"\n[other]\n`));
    t.match(failure, {
      code: 'config_value',
      detail: /:50000: connections\.targets\.t9999\.port: "x" is not a whole number from 0 to 65535$/,
    });
  },
);
