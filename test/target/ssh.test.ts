// SSH targets: how they are named, and what is refused.
import t from 'tap';
import type { TargetConfig } from '../../daemon/config/bmux/types.ts';
import { resolveTarget } from '../../daemon/target/resolve.ts';
import { failureOf } from '../policy/failure-of.ts';
import { config, inputs } from './sample.ts';

t.test('SSH targets', async (t) => {
  const targets: Record<string, Partial<TargetConfig>> = {
    box: { transport: 'ssh' },
    closed: { transport: 'ssh', port: 0 },
    'me@home': { transport: 'tls', host: 'h' },
    all: {
      transport: 'ssh',
      host: '[::1]',
      user: 'me',
      port: 2222,
      identityFile: 'id',
      knownHostsFile: '/known',
      strictHostKeyChecking: false,
      jump: 'gate',
      remoteBmuxPath: '/opt/bmux',
      connectTimeoutMs: 300,
      serverStartMode: 'require_running',
    },
  };
  const settings = config({ targets });
  const resolved = (target: string) =>
    resolveTarget(inputs({ target, config: settings, env: { SSH_AUTH_SOCK: 'agent' } }));
  const usual = {
    transport: 'ssh',
    strictHostKeyChecking: true,
    remoteBmuxPath: 'bmux',
    startsServer: true,
    agentSocket: '/home/me/agent',
  };
  const rows: [target: string, route: object, timeoutMs: number][] = [
    ['box', { ...usual, host: 'box' }, 8000],
    [
      'all',
      {
        transport: 'ssh',
        host: '::1',
        user: 'me',
        port: 2222,
        jump: 'gate',
        identityFile: '/home/me/id',
        knownHostsFile: '/known',
        strictHostKeyChecking: false,
        remoteBmuxPath: '/opt/bmux',
        startsServer: false,
        agentSocket: '/home/me/agent',
      },
      300,
    ],
    ['ssh://host', { ...usual, host: 'host' }, 8000],
    ['ssh://u@host:22/', { ...usual, host: 'host', user: 'u', port: 22 }, 8000],
    ['ada@example.org@host', { ...usual, host: 'host', user: 'ada@example.org' }, 8000],
    ['CORP\\ada@host:2', { ...usual, host: 'host', user: 'CORP\\ada', port: 2 }, 8000],
    ['user@host', { ...usual, host: 'host', user: 'user' }, 8000],
    ['u@[::1]:2', { ...usual, host: '::1', user: 'u', port: 2 }, 8000],
  ];
  for (const [target, route, connectTimeoutMs] of rows)
    t.hasStrict(
      await resolved(target),
      { label: target, route, compression: ['none'], connectTimeoutMs },
      target,
    );
  for (const target of ['user@host:x', 'ssh://host:0', 'ssh://host:70000', 'closed'])
    t.hasStrict(await failureOf(() => resolved(target)), { code: 'ssh_port_invalid' }, target);
  // An option, or a word for the shell of a ProxyCommand.
  for (const target of [
    'ssh://',
    'ssh://-oProxyCommand=x',
    'ssh://a`b`',
    'ssh://$(x)@host',
    '-l@host',
    'ada\\@host',
    'ssh://CORP\\ada\\@host',
    'ssh://a\\;b@host',
    'ssh://ada@CORP\\host',
    'ssh://a b',
  ])
    t.hasStrict(await failureOf(() => resolved(target)), { code: 'ssh_host_invalid' }, target);
  t.equal(
    (await resolveTarget(inputs({ target: 'me@home', config: settings }))).label,
    'me@home',
    'a name comes first',
  );
});

t.test('files of SSH targets, as ssh finds them for bmux in the folder of the caller', async (t) => {
  const files = async (cwd: string, fields: Partial<TargetConfig>) => {
    const settings = config({ targets: { box: { transport: 'ssh', ...fields } } });
    return (await resolveTarget(inputs({ target: 'box', config: settings, cwd }))).route;
  };
  const identities: [written: string, cwd: string, identityFile: string | undefined][] = [
    ['~root/id', '/w', '~root/id'],
    ['none', '/w', 'none'],
    ['', '/w', undefined],
    ['a b', '/w', '/w/a b'],
    ['id', '/My%20Work', '/My%%20Work/id'],
    ['/My%20Work/id', '/w', '/My%20Work/id'],
  ];
  for (const [identityFile, cwd, wanted] of identities) {
    const route = await files(cwd, { identityFile });
    t.equal('identityFile' in route ? route.identityFile : undefined, wanted, identityFile);
  }
  const lists: [written: string, cwd: string, knownHostsFile: string][] = [
    ['kh', '/w', '/w/kh'],
    ['kh', '/a b', '"/a b/kh"'],
    ['kh', '/a"b', '"/a\\"b/kh"'],
    ['kh', '/My%20Work', '/My%%20Work/kh'],
    ['/etc/kh ~root/kh', '/w', '/etc/kh ~root/kh "/etc/kh ~root/kh"'],
    ['a\tb', '/w', '/w/a /w/b "/w/a\tb"'],
    ['"a b" c # d', '/w', '"/w/a b" /w/c'],
    ['none', '/w', 'none'],
    ['%d/kh', '/w', '%d/kh'],
    ['', '/w', ''],
    ['"a', '/w', '"a'],
  ];
  for (const [knownHostsFile, cwd, wanted] of lists)
    t.hasStrict(await files(cwd, { knownHostsFile }), { knownHostsFile: wanted }, knownHostsFile);
});
