// Tests target resolution without a network: the selection, the result and the errors (docs/bmux-protocol.md, "Targets").
import t from 'tap';
import { resolveTarget, type ResolveInputs } from '../../daemon/target/resolve.ts';
import { selectTarget } from '../../daemon/target/select.ts';
import type { TargetConfig } from '../../daemon/config/bmux/types.ts';
import type { Route } from '../../daemon/engine-protocol/plan.ts';
import { failureOf } from '../policy/failure-of.ts';
import { anyReferenceGivesTargetOrFailure } from './properties.ts';
import { config, inputs } from './sample.ts';

t.test('which target is meant', async (t) => {
  const rows: [
    explicit: string | undefined,
    env: string | undefined,
    byDefault: string | undefined,
    is: string,
  ][] = [
    [undefined, undefined, undefined, ''],
    [undefined, undefined, ' prod ', 'prod'],
    [undefined, 'env', 'prod', 'env'],
    [undefined, '', 'prod', ''],
    [undefined, '  ', 'prod', ''],
    [' flag ', 'env', 'prod', 'flag'],
    ['  ', 'env', 'prod', 'env'],
    ['', undefined, 'prod', 'prod'],
    ['', '', 'prod', ''],
  ];
  for (const [explicit, variable, byDefault, is] of rows) {
    const env = variable === undefined ? {} : { BMUX_TARGET: variable };
    const settings = config(byDefault === undefined ? {} : { defaultTarget: byDefault });
    t.equal(selectTarget(explicit, env, settings), is, JSON.stringify([explicit, variable, byDefault]));
  }
});

t.test('local', async (t) => {
  const settings = config({ targets: { here: { transport: 'local', connectTimeoutMs: 1 } } });
  for (const name of ['', 'local', 'here']) {
    t.same(
      await resolveTarget(inputs({ target: name, config: settings, runtimeDir: '/r' })),
      {
        label: 'local',
        route: { transport: 'local', socketPath: '/r/server.sock' },
        compression: ['none'],
        compressionStated: false,
        connectTimeoutMs: 5000,
        warnings: [],
      },
      name,
    );
  }
  const hints: [version: string | undefined, epoch: number | undefined][] = [
    ['0.0.1-alpha.0', 3],
    ['0.0.1-alpha.1', undefined],
    ['0.0.1-alpha.3', undefined],
    ['0.0.1-alpha.4', 4],
    ['0.0.1-alpha.12', 4],
    ['0.0.2-alpha.4', undefined],
    ['0.0.1-alpha.4+x', undefined],
    ['', undefined],
    [undefined, undefined],
  ];
  for (const [serverVersionHint, epoch] of hints) {
    const resolved = await resolveTarget(inputs({ serverVersionHint }));
    t.equal(resolved.epochHint, epoch, serverVersionHint ?? 'none');
    t.equal('epochHint' in resolved, epoch !== undefined);
  }
});

t.test('unknown words are local, with a warning', async (t) => {
  for (const word of [
    'prdo',
    'TLS://host',
    'http://host',
    'Local',
    'host:22',
    '@host',
    'a b@c',
    'BMUX://x',
    'user@',
  ]) {
    const resolved = await resolveTarget(inputs({ target: word }));
    t.equal(resolved.label, 'local', word);
    t.same(resolved.warnings, [`target '${word}' is not configured: connecting to the local server`]);
  }
  const { warnings } = await resolveTarget(inputs({ target: 'a\u001b[2J"b' }));
  t.same(warnings, [`target 'a\\u{1b}[2J"b' is not configured: connecting to the local server`]);
});

t.test('a name that was configured never means the local server', async (t) => {
  const hasHad = (name: string) => name === 'prod';
  t.match(await failureOf(() => resolveTarget({ ...inputs({ target: 'prod' }), hasHad })), {
    code: 'target_gone',
    detail: "target 'prod' was configured and is gone from the config",
  });
  t.equal((await resolveTarget({ ...inputs({ target: 'prdo' }), hasHad })).label, 'local');
});

t.test('named targets', async (t) => {
  const id = 'ab'.repeat(32);
  const rows: [fields: Partial<TargetConfig>, route: Route | string][] = [
    [
      { transport: 'tls', host: 'gw.example' },
      { transport: 'tls', host: 'gw.example', port: 443, serverName: 'gw.example' },
    ],
    [
      { transport: 'tls', host: '[::1]', port: 0, serverName: 'name', caFile: '/ca.pem' },
      { transport: 'tls', host: '::1', port: 0, serverName: 'name', caFile: '/ca.pem' },
    ],
    [
      { transport: 'tls', host: '::1' },
      { transport: 'tls', host: '::1', port: 443, serverName: '::1' },
    ],
    [{ transport: 'tls' }, `TLS target 'n' requires host`],
    [{ transport: 'tls', host: '  ' }, `TLS target 'n' requires host`],
    [
      { transport: 'iroh', endpointId: id },
      { transport: 'iroh', endpointId: id, sshAuth: false },
    ],
    [
      { transport: 'iroh', host: id },
      { transport: 'iroh', endpointId: id, sshAuth: false },
    ],
    [
      {
        transport: 'iroh',
        endpointId: id,
        host: 'h',
        relayUrl: 'https://r',
        irohIpAddr: '1.2.3.4:5',
        irohSshAuth: true,
      },
      {
        transport: 'iroh',
        endpointId: id,
        relayUrl: 'https://r',
        ipAddr: '1.2.3.4:5',
        sshAuth: true,
        agentSocket: '/agent',
      },
    ],
    [{ transport: 'iroh' }, `iroh target 'n' requires endpoint_id`],
    [{ transport: 'iroh', endpointId: ' ', host: 'h' }, `iroh target 'n' requires endpoint_id`],
  ];
  for (const [fields, route] of rows) {
    const given = inputs({
      target: 'n',
      env: { SSH_AUTH_SOCK: '/agent' },
      config: config({ targets: { n: { connectTimeoutMs: 0, ...fields } } }),
    });
    if (typeof route === 'string') t.equal((await failureOf(() => resolveTarget(given))).detail, route);
    else {
      t.same(await resolveTarget(given), {
        label: 'n',
        route,
        compression: ['zstd', 'none'],
        compressionStated: false,
        connectTimeoutMs: 1,
        warnings: [],
      });
    }
  }
});

t.test('compression: by the target, by the config, by our own setting', async (t) => {
  type Overrides = NonNullable<ResolveInputs['overrides']>;
  const on = { enabled: true, remote: 'auto' } as const;
  const rows: [name: string, setting: typeof on | { enabled: boolean; remote: 'none' | 'zstd' | 'lz4' | 'auto' }, overrides: Overrides, first: string, stated: boolean][] = [
    ['tls://gw', on, new Map(), 'zstd', false],
    ['tls://gw', { enabled: true, remote: 'zstd' }, new Map(), 'zstd', false],
    ['tls://gw', { enabled: true, remote: 'lz4' }, new Map(), 'none', false],
    ['tls://gw', { enabled: true, remote: 'none' }, new Map(), 'none', false],
    ['tls://gw', { enabled: false, remote: 'zstd' }, new Map(), 'none', false],
    ['iroh://ID', { enabled: false, remote: 'auto' }, new Map(), 'none', false],
    ['iroh://ID?compression=zstd', { enabled: false, remote: 'auto' }, new Map(), 'zstd', true],
    ['prod', on, new Map([['prod', 'none']]), 'none', true],
    ['prod', { enabled: false, remote: 'auto' }, new Map([['prod', 'zstd']]), 'zstd', true],
    ['prod', on, new Map([['prod', 'auto']]), 'zstd', false],
    ['prod', on, new Map([['other', 'none']]), 'zstd', false],
    ['iroh://ID?compression=none', on, new Map([['iroh://ID?compression=none', 'auto']]), 'zstd', false],
    ['bmux://p', on, new Map([['prod', 'none']]), 'none', true],
    ['local', on, new Map([['local', 'zstd']]), 'none', false],
  ]; // oxfmt-ignore
  for (const [name, compression, overrides, first, stated] of rows) {
    const targets = { prod: { transport: 'tls', host: 'gw' } } as const;
    const settings = config({ targets, shareLinks: { p: 'prod' }, compression });
    const resolved = await resolveTarget(inputs({ target: name, config: settings, overrides }));
    t.equal(resolved.compression[0], first, `${name} ${JSON.stringify([compression, ...overrides])}`);
    t.equal(resolved.compressionStated, stated);
  }
});

t.test('share links of the config', async (t) => {
  const settings = config({
    targets: { prod: { transport: 'tls', host: 'gw' } },
    shareLinks: {
      prod: 'prod',
      two: 'bmux://prod',
      padded: ' bmux://two\t',
      inline: 'iroh://ID?compression=none',
      word: 'nothing',
      empty: '',
      self: 'bmux://self',
      a: 'bmux://b',
      b: 'bmux://c',
      c: 'bmux://b',
      lost: 'bmux://gone',
    },
  });
  const of = (name: string) => resolveTarget(inputs({ target: name, config: settings }));
  t.equal((await of('bmux://prod')).label, 'prod');
  t.equal((await of('bmux://two')).label, 'prod');
  t.equal((await of('bmux://padded')).label, 'prod', 'spaces do not make it the local server');
  t.equal((await of('bmux://inline')).label, 'iroh://ID?compression=none');
  t.match((await of('bmux://word')).warnings, [/'nothing' is not configured/]);
  const empty = await of('bmux://empty');
  t.equal(empty.label, 'local');
  t.match(empty.warnings, [/share link is empty/]);
  t.hasStrict(await failureOf(() => of('bmux://self')), {
    code: 'share_link_loop',
    detail: 'share link bmux://self leads back to itself (bmux://self -> bmux://self)',
  });
  t.equal(
    (await failureOf(() => of('bmux://a'))).detail,
    'share link bmux://b leads back to itself (bmux://a -> bmux://b -> bmux://c -> bmux://b)',
  );
  for (const [name, shown] of [
    ['bmux://gone', 'gone'],
    ['bmux://lost', 'gone'],
    ['bmux://', ''],
    ['bmux://__proto__', '__proto__'],
  ]) {
    t.hasStrict(await failureOf(() => of(name ?? '')), {
      code: 'share_link_unknown',
      detail: `share link not found: bmux://${shown ?? ''}; run 'bmux share' or 'bmux hosts'`,
    });
  }
});

t.test('any reference gives a target or a failure', () => anyReferenceGivesTargetOrFailure(400));

t.test('relative paths are those of the caller', async (t) => {
  const rows: [written: string, path: string | undefined][] = [
    ['gw.pem', '/home/me/gw.pem'],
    ['../gw.pem', '/home/me/../gw.pem'],
    ['8080', '/home/me/8080'],
    ['~/agent', '/home/me/~/agent'],
    ['/a', '/a'],
    ['', undefined],
  ];
  for (const [written, path] of rows) {
    const targets = {
      gw: { transport: 'tls' as const, host: 'h', caFile: written },
      far: { transport: 'iroh' as const, endpointId: 'ID', irohSshAuth: true },
    };
    const routeOf = async (target: string) =>
      (await resolveTarget(inputs({ target, env: { SSH_AUTH_SOCK: written }, config: config({ targets }) })))
        .route;
    if (path !== undefined) t.match(await routeOf('gw'), { caFile: path });
    for (const target of ['far', 'iroh://ID?auth=ssh']) {
      const route = await routeOf(target);
      t.equal('agentSocket' in route ? route.agentSocket : undefined, path, `${target} ${written}`);
    }
  }
});
