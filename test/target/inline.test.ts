// Tests inline targets: tls://, https:// and iroh:// (docs/bmux-protocol.md, "Inline targets").
import t from 'tap';
import type { TlsTrust } from '../../daemon/config/bmux/types.ts';
import { tlsTrustOf } from '../../daemon/target/tls-trust.ts';
import { resolveTarget } from '../../daemon/target/resolve.ts';
import type { Route } from '../../daemon/engine-protocol/plan.ts';
import { failureOf } from '../policy/failure-of.ts';
import { hostAndPortComeBack } from './properties.ts';
import { config, inputs } from './sample.ts';

t.test('inline TLS', async (t) => {
  const rows: [target: string, host: string, port: number][] = [
    ['tls://gw', 'gw', 443],
    ['tls://gw:7443', 'gw', 7443],
    ['tls://gw:0', 'gw', 0],
    ['tls://gw:65535', 'gw', 65535],
    ['tls://gw:+07443', 'gw', 7443],
    ['tls://gw:', 'gw', 443],
    ['tls://[::1]', '::1', 443],
    ['tls://[::1]:7443', '::1', 7443],
    ['tls://[2001:db8::1]:', '2001:db8::1', 443],
    ['tls://fe80::1:7443', 'fe80::1', 7443],
    ['tls://[name]:1', '[name]', 1],
    ['https://gw', 'gw', 443],
    ['https://gw/s/1?x=y:z', 'gw', 443],
    ['https://gw:8443/', 'gw', 8443],
    ['https://gw:/x', 'gw', 443],
    ['https://[::1]:8443/x:1', '::1', 8443],
    ['https://[::1]/', '::1', 443],
  ];
  for (const [name, host, port] of rows) {
    t.same(await resolveTarget(inputs({ target: ` ${name} ` })), {
      label: name,
      route: { transport: 'tls', host, port, serverName: host },
      compression: ['zstd', 'none'],
      compressionStated: false,
      connectTimeoutMs: 8000,
      warnings: [],
    });
  }
  const wrong: [target: string, detail: string][] = [
    ...['tls://gw:65536', 'tls://gw:x', 'tls://gw:-1', 'tls://gw: 1', 'tls://gw:443/x', 'https://gw:1x/', 'tls://[::1]x']
      .map((name): [string, string] => [name, `invalid TLS port in target '${name}'`]),
    ...['tls://', 'tls://:', 'tls://:443', 'tls://[]', 'tls:// :1']
      .map((name): [string, string] => [name, 'TLS target must include a host']),
    ...['https://', 'https:///x', 'https://:443', 'https://:/x']
      .map((name): [string, string] => [name, 'hosted target must include a host']),
  ]; // oxfmt-ignore
  for (const [name, detail] of wrong) {
    t.equal((await failureOf(() => resolveTarget(inputs({ target: name })))).detail, detail, name);
  }
});

t.test('inline iroh', async (t) => {
  const rows: [target: string, route: Partial<Route>, first: string, stated: boolean][] = [
    ['iroh://ID', { endpointId: 'ID', sshAuth: false }, 'zstd', false],
    ['iroh:// ID ?', { endpointId: 'ID' }, 'zstd', false],
    ['iroh://ID?relay=https://r.example/?a=b', { relayUrl: 'https://r.example/?a=b' }, 'zstd', false],
    ['iroh://ID?relay=one&relay=&relay= two &x', { relayUrl: 'two' }, 'zstd', false],
    ['iroh://ID?relay=https%3A%2F%2Fr', { relayUrl: 'https%3A%2F%2Fr' }, 'zstd', false],
    ['iroh://ID?auth=ssh', { sshAuth: true, agentSocket: '/agent' }, 'zstd', false],
    ['iroh://ID?AUTH=SSH&x=y&&z', { sshAuth: true }, 'zstd', false],
    ['iroh://ID?auth=none', { sshAuth: false }, 'zstd', false],
    ['iroh://ID?compression=none', {}, 'none', true],
    ['iroh://ID?Compression=ZSTD', {}, 'zstd', true],
    ['iroh://ID?compression=zstd&compression=Auto', {}, 'zstd', false],
    ['iroh://ID?addr=127.0.0.1:7444', { ipAddr: '127.0.0.1:7444' }, 'zstd', false],
    ['iroh://ID?addr=[::1]:7444', { ipAddr: '[::1]:7444' }, 'zstd', false],
  ];
  for (const [name, route, first, stated] of rows) {
    const resolved = await resolveTarget(inputs({ target: name, env: { SSH_AUTH_SOCK: '/agent' } }));
    t.has(resolved, { label: name, route: { transport: 'iroh', ...route }, connectTimeoutMs: 8000 }, name);
    t.equal(resolved.compression[0], first, name);
    t.equal(resolved.compressionStated, stated, name);
    t.equal(resolved.compression.length, 2);
  }
  const plain = (await resolveTarget(inputs({ target: 'iroh://ID', env: { SSH_AUTH_SOCK: '/agent' } })))
    .route;
  t.strictSame(plain, { transport: 'iroh', endpointId: 'ID', sshAuth: false }, 'nothing that is not written');
  const wrong: [target: string, detail: string][] = [
    ['iroh://', 'iroh target must include an endpoint id'],
    ['iroh://?relay=x', 'iroh target must include an endpoint id'],
    ['iroh://ID?compression=LZ4', `unsupported iroh compression mode 'LZ4' (expected auto|none|zstd)`],
    ['iroh://ID?compression', `unsupported iroh compression mode '' (expected auto|none|zstd)`],
    ...['', 'host:1', '1.2.3.4', '1.2.3.4:65536', '::1:80', '[1.2.3.4]:1', '[::1]', '01.2.3.4:1'].map(
      (addr): [string, string] => [`iroh://ID?addr=${addr}`, 'addr must be a socket address'],
    ),
  ];
  for (const [name, detail] of wrong) {
    t.equal((await failureOf(() => resolveTarget(inputs({ target: name })))).detail, detail, name);
  }
});

t.test('host and port come back from every form', () => hostAndPortComeBack(200));

t.test('the pin of a gateway and the mode are in its route, the pin of the config first', (t) => {
  const store = { path: '/known-gateways.toml', pins: new Map([['h:1', { fingerprint: 'SHA256:aa' }]]) };
  const declared = new Map([['h:2', { fingerprint: 'SHA256:bb' }]]);
  const trusts = (port: number, tlsTrust: TlsTrust) => {
    const { connections, ...more } = config();
    return tlsTrustOf('h', port, { ...more, connections: { ...connections, tlsTrust } }).trust;
  };
  t.match(trusts(1, { mode: 'prompt', declared, store }), {
    mode: 'prompt',
    pin: { fingerprint: 'SHA256:aa', from: 'local known-gateways store' },
    store: store.path,
  });
  t.match(trusts(2, { mode: 'prompt', declared, store }), {
    pin: { fingerprint: 'SHA256:bb', from: 'declarative config' },
  });
  const both = { ...store, pins: new Map([['h:2', { fingerprint: 'SHA256:cc' }]]) };
  t.match(trusts(2, { mode: 'prompt', declared, store: both }), { pin: { fingerprint: 'SHA256:bb' } });
  t.equal(trusts(3, { mode: 'prompt', declared, store }), undefined);
  t.match(trusts(3, { mode: 'trust_new', declared, store }), { mode: 'trust_new', pin: undefined });
  t.end();
});
