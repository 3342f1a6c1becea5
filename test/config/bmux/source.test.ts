// The config of a context follows its files, and keeps the last valid config while they are invalid.
import { utimesSync, writeFileSync } from 'node:fs';
import { rename, rm, symlink, unlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { bmuxPaths } from '../../../daemon/base/paths.ts';
import { ConfigSource, type ConfigSourceOptions } from '../../../daemon/config/bmux/source.ts';
import { ConfigFiles } from '../../../daemon/config/bmux/config-files.ts';
import { SteadyFiles } from '../../../daemon/config/files/steady-files.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';
import { waitFor } from '../../real/child.ts';
import { failureOf } from '../../policy/failure-of.ts';
import { folderFor, passed, put } from '../files.ts';

function sourceIn(folder: string, options: Partial<ConfigSourceOptions> = {}) {
  const env = { HOME: folder, BMUX_CONFIG_DIR: join(folder, 'c'), ...options.env };
  const clock = new FakeClock();
  const files = new ConfigFiles(new SteadyFiles(clock));
  const paths = bmuxPaths(env, 'linux', folder);
  const renew = (): void => {
    files.renew();
  };
  return Object.assign(new ConfigSource({ paths, files, cwd: folder, ...options, env }), { clock, renew });
}

const timeout = (ms: number) => `general.server_timeout = ${String(ms)}\n`;

t.test('every way to change a file', async (t) => {
  const folder = await folderFor(t);
  const source = sourceIn(folder);
  const now = async () => (await source.current()).config.general.serverTimeoutMs;
  const file = join(folder, 'c/bmux.toml');
  t.equal(await now(), 5000, 'no file');
  t.ok(source.files().includes(file));
  await put(file, timeout(1));
  t.equal(await now(), 1, 'appeared');
  await put(file, timeout(22));
  t.equal(await now(), 22, 'written');
  await put(`${file}.new`, timeout(33));
  await rename(`${file}.new`, file);
  t.equal(await now(), 33, 'renamed over');
  await put(join(folder, 'a/bmux.toml'), timeout(44));
  await put(join(folder, 'b/bmux.toml'), timeout(55));
  await rm(join(folder, 'c'), { recursive: true });
  await symlink('a', join(folder, 'c'));
  t.equal(await now(), 44, 'its folder became a symlink');
  await symlink('b', join(folder, 'c.new'));
  await rename(join(folder, 'c.new'), join(folder, 'c'));
  t.equal(await now(), 55, 'that was swapped');
  await unlink(join(folder, 'c'));
  t.equal(await now(), 55, 'removed, perhaps for an instant');
  await passed(source.clock, 'the removal', async () => (await now()) === 5000);
  await put(join(folder, '.local/state/bmux/config-overlay.toml'), timeout(66));
  t.equal(await now(), 66, 'another file');
});

t.test('$PWD in a path is the folder of the caller, not that of the daemon', async (t) => {
  const folder = await folderFor(t);
  const source = sourceIn(folder, { daemon: { PWD: '/daemon' } });
  await put(
    join(folder, 'c/bmux.toml'),
    '[connections.targets.gw]\ntransport = "tls"\nca_file = "${PWD}/gw.pem"\n',
  );
  for (const cwd of ['/a', '/b', '/a']) {
    const { config, warnings, facts } = await source.current({ cwd });
    t.equal(config.connections.targets.get('gw')?.caFile, `${cwd}/gw.pem`);
    t.strictSame(warnings, []);
    t.not(facts, '', 'the config of one folder is not that of another');
  }
});

t.test(
  'a change that keeps size and modification time is seen, and a reload reads whatever the stamps say',
  async (t) => {
    const folder = await folderFor(t);
    const source = sourceIn(folder);
    const now = async () => (await source.current()).config.general.serverTimeoutMs;
    const file = join(folder, 'c/bmux.toml');
    const time = new Date(1_700_000_000_000);
    await put(file, timeout(10));
    await utimes(file, time, time);
    t.equal(await now(), 10);
    await new Promise((resolve) => setTimeout(resolve, 50));
    t.equal(await now(), 10);
    await put(file, timeout(11));
    await utimes(file, time, time);
    t.equal(await now(), 11, 'written in place, as `cp -p` does');
    for (let i = 12; i < 40; i += 1) {
      // Without a pause: several of these writes have one change time.
      writeFileSync(file, timeout(i));
      utimesSync(file, time, time);
      t.equal(await now(), i, 'at once');
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
    const { config } = await source.current();
    t.equal((await source.current()).config, config, 'no change: nothing is read');
    source.renew();
    t.not((await source.current()).config, config, 'read again');
  },
);

t.test('a change is seen by everybody who asks after it', async (t) => {
  const folder = await folderFor(t);
  const source = sourceIn(folder);
  const file = join(folder, 'c/bmux.toml');
  await put(file, timeout(1));
  for (let i = 2; i <= 60; i += 1) {
    // The check for this call is under way, before or after the change.
    const earlier = source.current();
    await new Promise(setImmediate);
    writeFileSync(file, timeout(i));
    const later = await Promise.all([source.current(), source.current(), source.current()]);
    const seen = later.map(({ config }) => config.general.serverTimeoutMs);
    if (seen.some((ms) => ms !== i)) t.strictSame(seen, [i, i, i]);
    await earlier;
  }
});

t.test('the last good one', async (t) => {
  const folder = await folderFor(t);
  const source = sourceIn(folder);
  const file = join(folder, 'c/bmux.toml');
  const first = 'general = 3\n';
  await put(file, first);
  t.match(await failureOf(() => source.current()), {
    code: 'config_unloadable',
    detail: 'failed loading bmux config',
    causes: [`${file}:1: general: 3 is not a table`],
  });
  await put(file, timeout(1));
  t.equal((await source.current()).config.general.serverTimeoutMs, 1);
  const bad: readonly (readonly [string, string])[] = [
    ['\nx', 'config_syntax'],
    ['[connections.targets.a]\ntransport = "tcp"', 'config_value'],
    ['composition.active_profile = "nope"', 'composition_invalid'],
  ];
  for (const [text, code] of bad) {
    await put(file, text);
    for (const time of ['at once', 'and later']) {
      const { config, problem } = await source.current();
      t.equal(config.general.serverTimeoutMs, 1, time);
      t.equal(problem?.code, code);
      t.match(problem?.message, `${file}:2: `.slice(0, -3), 'names the file');
    }
    t.ok(source.files().length >= 2, 'the files above the bad one are still watched');
  }
  await put(file, timeout(2));
  const { config, problem } = await source.current();
  t.equal(config.general.serverTimeoutMs, 2);
  t.equal(problem, undefined);
});

t.test('a config with a wrong value is composed once, not for each caller', async (t) => {
  const folder = await folderFor(t);
  const source = sourceIn(folder, { env: { CA_DIR: folder } });
  const file = join(folder, 'c/bmux.toml');
  const problem = async () => (await source.current()).problem;
  const target = '[connections.targets.a]\nca_file = "$CA_DIR/ca.pem"\n';
  const wrong = '[connections.targets.b]\niroh_ip_addr = "no address"\n';
  await put(file, timeout(1));
  t.equal(await problem(), undefined);
  for (const text of [target + wrong, `${target}${wrong}port = 1\n`]) {
    await put(file, text);
    // A file that was written just now is read again by each call.
    await waitFor('the same object', async () => (await problem()) === (await problem()));
    const first = await problem();
    t.match(first?.message, /"no address" is not a socket address/);
    const others = await Promise.all(Array.from({ length: 20 }, problem));
    for (const other of [...others, await problem()]) t.equal(other, first, 'the same object');
    t.ok(source.reads?.has('CA_DIR'), 'what was read then decides for whom the answer is');
  }
  await put(file, target);
  t.equal(await problem(), undefined, 'mended');
});

t.test('BMUX_CONFIG that comes and goes', async (t) => {
  const folder = await folderFor(t);
  const source = sourceIn(folder, { env: { BMUX_CONFIG: 'named.toml' } });
  const file = join(folder, 'named.toml');
  t.match(await failureOf(() => source.current()), {
    code: 'config_unloadable',
    causes: [/BMUX_CONFIG names/],
  });
  await put(file, timeout(1));
  t.equal((await source.current()).problem, undefined);
  await unlink(file);
  t.equal((await source.current()).problem, undefined, 'perhaps for an instant');
  await passed(source.clock, 'the removal', async () => (await source.current()).problem !== undefined);
  const { config, problem } = await source.current();
  t.equal(config.general.serverTimeoutMs, 1);
  t.equal(problem?.code, 'config_missing');
});

t.test('slots', async (t) => {
  const folder = await folderFor(t);
  const source = sourceIn(folder, { env: { BMUX_SLOT_NAME: 'dev' } });
  const manifest = join(folder, '.config/bmux/slots.toml');
  await put(join(folder, '.config/bmux/base.toml'), timeout(1));
  t.match(await failureOf(() => source.current()), { code: 'slot_unknown' });
  await put(manifest, '[slots.dev]\nbinary = "b"');
  const found = await source.current();
  t.equal(found.slot?.name, 'dev');
  t.equal(found.config.general.serverTimeoutMs, 1, 'base.toml');
  t.ok(source.files().includes(manifest));
  await put(manifest, '[slots.dev');
  const broken = await source.current();
  t.equal(broken.slot, undefined);
  t.match(broken.warnings, [/counts as no slot/]);
  t.equal(broken.config.general.serverTimeoutMs, 5000);
  await put(manifest, '[slots.other]\nbinary = "b"');
  t.match(await failureOf(() => source.current()), { code: 'slot_unknown' }, 'also after it was known once');
  t.equal(
    (await sourceIn(folder, { slot: 'other' }).current()).slot?.name,
    'other',
    'the slot of the request',
  );
});

t.test('what differs between callers', async (t) => {
  const folder = await folderFor(t);
  const source = sourceIn(folder, { env: { BMUX_RUNTIME: 'r' }, daemon: { HOST: 'laptop', ONLY: 'd' } });
  await put(
    join(folder, 'c/bmux.toml'),
    `[[composition.auto_select]]\nprofile = "p"\ncwd_prefix = "/p"\nhost = "laptop"\nruntime = "r"\nos = "linux"
[[composition.auto_select]]\nprofile = "nope"\nterm_prefix = "bad"
[composition.profiles.p.patch]\n${timeout(9)}
[connections.targets.a]\nca_file = "$ONLY"`,
  );
  const platform = { platform: 'linux' as const };
  const at = async (cwd: string, term?: string) =>
    (await source.current({ cwd, term })).config.general.serverTimeoutMs;
  t.equal(await at('/p/x'), process.platform === platform.platform ? 9 : 5000);
  t.equal(await at('/q'), 5000);
  t.match(await failureOf(() => at('/q', 'bad')), { code: 'config_unloadable' });
  t.equal(await at('/q', 'good'), 5000, 'only for that caller');
  t.match((await source.current()).warnings, [/ONLY .* environment of bmuxd/]);
});

t.test('an environment that holds otherwise what the files read is for another source', async (t) => {
  const folder = await folderFor(t);
  const env = { BMUX_SLOT_NAME: 'dev', TMPDIR: '/a', HOST: 'a' };
  const source = sourceIn(folder, { env });
  const given = { HOME: folder, BMUX_CONFIG_DIR: join(folder, 'c'), ...env };
  const is = async (name: string, value: string | undefined): Promise<boolean> =>
    (await source.currentFor({ ...given, [name]: value }, {})) !== undefined;
  const manifest = join(folder, '.config/bmux/slots.toml');
  const file = join(folder, 'c/bmux.toml');
  const extending = (path: string): string => `extend = ["${path}/more.toml"]\n[slots.dev]\nbinary = "b"`;
  await put(manifest, extending('/x'));
  await put(file, timeout(1));
  t.ok(await is('TMPDIR', '/b'));
  t.ok(await is('HOST', undefined));
  await put(manifest, extending('${TMPDIR}'));
  t.notOk(await is('TMPDIR', '/b'), 'in the manifest');
  t.ok(await is('TMPDIR', '/a'));
  await put(manifest, extending('/x'));
  await put(file, `[connections.targets.a]\nca_file = "$TMPDIR/ca"`);
  t.notOk(await is('TMPDIR', undefined), 'in a path');
  t.ok(await is('HOST', 'b'));
  await put(file, timeout(2));
  t.ok(await is('HOST', 'b'));
  const rule = `[[composition.auto_select]]\nprofile = "nope"\nhost = "b"\n`;
  await put(file, `general = 3\n${rule}`);
  t.notOk(await is('HOST', 'b'), 'in a rule');
  t.ok(await is('TMPDIR', '/b'));
  const other = sourceIn(folder, { env: { ...env, HOST: 'b' }, beside: source });
  t.match(await other.current(), {
    config: { general: { serverTimeoutMs: 2 } },
    problem: { code: 'composition_invalid' },
  });
});
