// docs/bmux-protocol.md, "Composition": profiles, their order and their selection, and a comparison with the real bmux.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import type { ComposeFacts } from '../../../daemon/config/bmux/compose.ts';
import { failureOf } from '../../policy/failure-of.ts';
import { realBmux } from '../../real/index.ts';
import { compose, timeout } from './composed.ts';
import { folderFor, put } from '../files.ts';

t.test('profiles', (t) => {
  const patched = (name: string, value: number) =>
    `[composition.profiles.${name}.patch.general]\nserver_timeout = ${String(value)}\n`;
  const dev = patched('Dev', 9);
  const rows: readonly (readonly [string, number, string | readonly string[]])[] = [
    ['the config is above the active profile', 1, `composition.active_profile = "dev"\ngeneral.server_timeout = 1\n${dev}`],
    ['an active profile without the key in the config', 9, `composition.active_profile = " DEV "\n${dev}`],
    ['a profile that is not active', 5000, dev],
    ['layer_order', 9, `general.server_timeout = 1\n[composition]\nactive_profile = "dev"\nlayer_order = ["defaults", "config", "profile:active"]\n${dev}`],
    ['a named layer', 9, `general.server_timeout = 1\n[composition]\nlayer_order = ["config", "profile:dev"]\n${dev}`],
    ['an empty order is the default', 9, `[composition]\nactive_profile = "dev"\nlayer_order = []\n${dev}`],
    ['no config layer', 5000, 'general.server_timeout = 1\n[composition]\nlayer_order = ["defaults"]'],
    ['a bad name that no layer uses', 1, 'general.server_timeout = 1\n[composition]\nactive_profile = "nope"\nlayer_order = ["config"]'],
    ['the right-most parent wins', 200, `composition.active_profile = "c"\n${patched('l', 100)}${patched('r', 200)}[composition.profiles.c]\nextends = ["l", "r"]`],
    ['its own patch is above its parents', 3, `composition.active_profile = "c"\n${patched('l', 100)}[composition.profiles.c]\nextends = ["l"]\n${patched('c', 3)}`],
    ['a parent that is named twice counts where it comes last', 1, `composition.active_profile = "c"\n${patched('p', 1)}${patched('q', 2)}[composition.profiles.c]\nextends = ["p", "q", "p"]`],
    ['a profile of two files', 8, [`composition.active_profile = "dev"\n${dev}`, patched('Dev', 8)]],
    ['a built-in profile', 4, 'general.server_timeout = 4\ncomposition.active_profile = "mine"\ncomposition.profiles.mine.extends = ["tmux_compat", "zellij_compat", "VIM"]'],
    ['composition inside a patch means nothing', 5000, '[composition]\nactive_profile = "a"\n[composition.profiles.a.patch.composition]\nactive_profile = "nope"'],
  ]; // oxfmt-ignore
  for (const [title, expected, texts] of rows) t.equal(timeout(texts), expected, title);
  t.end();
});

t.test('auto_select', (t) => {
  const when = (rule: string, facts: Partial<ComposeFacts> = {}) =>
    timeout(
      `[[composition.auto_select]]\nprofile = " Dev"\n${rule}\n[[composition.auto_select]]\nprofile = "other"\n` +
        '[composition.profiles.dev.patch.general]\nserver_timeout = 1\n[composition.profiles.other.patch.general]\nserver_timeout = 2\n',
      facts,
    );
  const rows: readonly (readonly [string, number, Partial<ComposeFacts>?])[] = [
    ['', 1],
    ['host = "LAPTOP"', 1],
    ['host = "lap"', 2],
    ['os = "Linux"', 1],
    ['os = "macos"', 2],
    ['cwd_prefix = "/w"', 1, { cwd: '/work' }],
    ['cwd_prefix = "/w"', 2, { cwd: '/W' }],
    ['cwd_prefix = ""', 2],
    ['term_prefix = "XTERM"', 1, { term: 'xterm-256color' }],
    ['term_prefix = "xterm"', 2, { term: 'rxvt' }],
    ['runtime = "A"', 1, { runtimeName: 'a' }],
    ['runtime = "a"', 2],
    ['host = "laptop"\nos = "macos"', 2],
  ];
  for (const [rule, expected, facts] of rows) t.equal(when(rule, facts), expected, `${rule} ${JSON.stringify(facts)}`);
  t.equal(timeout('composition.active_profile = "vim"\n[[composition.auto_select]]\nprofile = "nope"'), 5000, 'active_profile first');
  t.end();
}); // oxfmt-ignore

t.test('composition errors', async (t) => {
  const rows: readonly (readonly [string | readonly string[], string])[] = [
    ['composition = 3', '/0.toml:1: [composition]: composition: 3 is not a table'],
    ['composition.active_profile = 3', '/0.toml:1: [composition]: composition.active_profile: 3 is not a string'],
    ['[composition.profiles.a]\nextends = "b"', '/0.toml:2: [composition]: composition.profiles.a.extends: "b" is not a list of strings'],
    ['[composition.profiles.a]\npatch = "b"', '/0.toml:2: [composition]: composition.profiles.a.patch: "b" is not a table'],
    [['[composition]\nactive_profile = "nope"', ''], "/0.toml:2: [composition]: profile 'nope' is not defined (known profiles: tmux_compat, vim, zellij_compat)"],
    ['[composition]\nactive_profile = "a"\n[composition.profiles.a]\nextends = ["x"]', "/0.toml:4: [composition]: profile 'x' is not defined (known profiles: a, tmux_compat, vim, zellij_compat)"],
    ['[composition]\nactive_profile = "a"\nprofiles.a.extends = ["b"]\nprofiles.b.extends = ["A"]', '/0.toml:4: [composition]: profile inheritance cycle detected: a -> b -> a'],
    ['[composition]\nlayer_order = ["profile:active"]', "/0.toml:2: [composition]: layer 'profile:active' requires composition.active_profile"],
    ['[composition]\nlayer_order = ["bogus"]', "/0.toml:2: [composition]: unknown layer 'bogus'"],
    ['[composition.profiles." "]', '/0.toml:1: [composition]: profile id must not be empty'],
    ['[[composition.auto_select]]\n[[composition.auto_select]]\nos = 1', '/0.toml:3: [composition]: composition.auto_select.1.os: 1 is not a string'],
  ]; // oxfmt-ignore
  for (const [texts, detail] of rows) {
    t.match(await failureOf(() => compose(texts)), { code: 'composition_invalid', detail });
  }
  const deep = Array.from(
    { length: 200 },
    (_, i) => `composition.profiles.p${String(i)}.extends = ["p${String(i + 1)}"]`,
  );
  const chain = ['composition.active_profile = "p0"', 'composition.profiles.p200.extends = []', ...deep].join(
    '\n',
  );
  t.match(await failureOf(() => compose(chain)), { detail: /more than 64 deep/ });
  const wide = Array.from(
    { length: 60 },
    (_, i) => `composition.profiles.p${String(i)}.extends = ["p${String(i + 1)}", "p${String(i + 1)}"]`,
  );
  compose(['composition.active_profile = "p0"', 'composition.profiles.p60.extends = []', ...wide].join('\n'));
  t.pass('shared parents cost no more than others');
});

const bmux = realBmux();
t.test('the real bmux reads the same', { skip: bmux === undefined && 'real bmux not found' }, async (t) => {
  const folder = await folderFor(t);
  const env = {
    HOME: folder,
    PATH: process.env['PATH'] ?? '',
    BMUX_CONFIG_DIR: join(folder, 'c'),
    BMUX_STATE_DIR: join(folder, 's'),
    TERM: 'xterm-256color',
    HOSTNAME: 'laptop',
    SET: 'set',
  };
  const profile = '[composition.profiles.Dev.patch.general]\nserver_timeout = 9\n';
  const cases: readonly (string | readonly string[])[] = [
    'general.server_timeout = 0',
    'general.server_timeout = -1',
    'general.server_timeout = "5"',
    ['general.server_timeout = 1', 'general.server_timeout = 2'],
    `composition.active_profile = "dev "\n${profile}`,
    `composition.active_profile = "dev"\ngeneral.server_timeout = 1\n${profile}`,
    [
      `composition.active_profile = "dev"\n${profile}`,
      '[composition.profiles.Dev.patch.general]\nserver_timeout = 8',
    ],
    'composition.active_profile = "nope"',
    'composition.active_profile = "zellij_compat"',
    'composition.layer_order = ["bogus"]',
    'composition.layer_order = ["profile:active"]',
    ...[
      'host = "LAPTOP"',
      'os = "LINUX"',
      'term_prefix = "XTERM"',
      'runtime = "default"',
      'cwd_prefix = "/"',
      'cwd_prefix = "/no"',
    ].map((rule) => `[[composition.auto_select]]\nprofile = "dev"\n${rule}\n${profile}`),
    'composition.active_profile = "c"\ncomposition.profiles.c.extends = ["a", "b", "a"]\n' +
      'composition.profiles.a.patch.general.server_timeout = 1\ncomposition.profiles.b.patch.general.server_timeout = 2',
    '[connections.targets.a]\ntransport = "TLS"',
    '[connections.targets.a]\nport = 65536',
    '[connections.targets.a]\niroh_ip_addr = "1.2.3.4"',
    '[connections.targets.a]\niroh_ip_addr = "[::1]:080"',
    '[behavior.compression]\nremote = "snappy"',
    'bogus = 1\n[connections.targets.a]\nbogus = 1',
  ];
  for (const texts of cases) {
    const [main = '', overlay = ''] = [texts].flat();
    await put(join(folder, 'c/bmux.toml'), main);
    await put(join(folder, 's/config-overlay.toml'), overlay);
    const theirs = await promisify(execFile)(bmux ?? '', ['config', 'get', 'general.server_timeout'], {
      env,
      cwd: folder,
      timeout: 60_000,
    }).then(({ stdout }) => Number(stdout), () => 'an error'); // oxfmt-ignore
    let ours: number | string;
    try {
      ours = timeout([main, overlay], { cwd: folder, term: env.TERM, env });
    } catch {
      ours = 'an error';
    }
    t.equal(ours, theirs, JSON.stringify(texts));
  }
});
