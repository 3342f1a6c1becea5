// Tests changes of config files: the context that uses the files is told, and a problem is removed from the status when it is corrected.
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import t from 'tap';
import { SYSTEM_CLOCK } from '../../../daemon/base/async/clock.ts';
import { sleep } from '../../../daemon/base/async/sleep.ts';
import { Contexts } from '../../../daemon/control/contexts/contexts.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';
import { startBmuxd } from '../../daemon/bmuxd.ts';
import { waitFor } from '../../real/index.ts';

t.test('a change of files is reported with the key of their context', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'bmuxd-changes-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  const envOf = async (name: string): Promise<{ HOME: string; BMUX_CONFIG_DIR: string }> => {
    const config = join(dir, name);
    await mkdir(config);
    await writeFile(join(config, 'bmux.toml'), '');
    return { HOME: dir, BMUX_CONFIG_DIR: config };
  };
  const [own, other] = [await envOf('own'), await envOf('other')];
  const changed: string[] = [];
  const contexts = new Contexts({
    env: {},
    own: { env: own, cwd: dir },
    clock: SYSTEM_CLOCK,
    max: () => 4,
    isPinned: () => false,
    onChange: (key) => changed.push(key),
    event: () => undefined,
    log: pino({ level: 'silent' }),
  });
  t.teardown(() => contexts.close());
  await contexts.openOwn();
  await contexts.view({ env: other });
  const { key } = contexts.inputsOf({ env: other });
  t.not(key, contexts.ownKey);
  // Time for the watchers to read the files as they are now.
  await sleep(300);
  changed.splice(0);
  await writeFile(join(other.BMUX_CONFIG_DIR, 'bmux.toml'), '[connections]\ndefault_target = "local"\n');
  await waitFor('the change to be noticed', () => changed.length > 0);
  await writeFile(join(own.BMUX_CONFIG_DIR, 'bmux.toml'), '[connections]\ndefault_target = "local"\n');
  await waitFor('the change of the files of the own context', () => changed.includes(contexts.ownKey));
  t.strictSame(
    changed.filter((one, at) => one !== changed[at - 1]),
    [key, contexts.ownKey],
  );
});

t.test('a change of the trust in gateways is told, and of nothing else', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'bmuxd-changes-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  await writeFile(join(dir, 'bmux.toml'), '');
  const store = join(dir, 'known-gateways.toml');
  let told = 0;
  const contexts = new Contexts({
    env: {},
    own: { env: { HOME: dir, BMUX_CONFIG_DIR: dir, BMUX_STATE_DIR: dir }, cwd: dir },
    max: () => 4,
    isPinned: () => false,
    onChange: () => undefined,
    clock: SYSTEM_CLOCK,
    onTrustChange: () => (told += 1),
    event: () => undefined,
    log: pino({ level: 'silent' }),
  });
  t.teardown(() => contexts.close());
  await contexts.openOwn();
  await writeFile(store, '[gateways."a:1"]\nfingerprint_sha256 = "SHA256:aa"\ntrusted_at_unix_ms = 1\n');
  await waitFor('the new pin', () => told === 1);
  await writeFile(join(dir, 'bmux.toml'), '[connections]\ndefault_target = "local"\n');
  const targetOf = async () => (await contexts.view({})).config.connections.defaultTarget;
  await waitFor('the other change', async () => (await targetOf()) === 'local');
  t.equal(told, 1);
  await writeFile(join(dir, 'bmux.toml'), 'this is no TOML');
  await rm(store);
  await waitFor('the removed pin', () => told === 2);
  const { config } = await contexts.view({});
  t.equal(
    config.connections.tlsTrust?.store.pins.size,
    0,
    'it does not count any more, also with a broken config',
  );
});

t.test('callers that differ in a variable that the config reads share its files', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'bmuxd-shared-files-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  const file = join(dir, 'bmux.toml');
  const config = (name: string): string =>
    `[connections.targets.${name}]\ntransport = "local"\nca_file = "$HOST"\n`;
  const put = async (name: string): Promise<void> => {
    await writeFile(`${file}~`, config(name));
    await rename(`${file}~`, file);
  };
  await put('one');
  const events: string[] = [];
  const changed: string[] = [];
  const contexts = new Contexts({
    env: {},
    own: { env: { HOME: dir }, cwd: dir },
    clock: new FakeClock(),
    max: () => 8,
    isPinned: () => false,
    onChange: (key) => changed.push(key),
    event: ({ type }) => events.push(type),
    log: pino({ level: 'silent' }),
  });
  t.teardown(() => contexts.close());
  const seenBy = async (HOST: string) => {
    const { config, context } = await contexts.view({ env: { HOME: dir, BMUX_CONFIG_DIR: dir, HOST } });
    const [[name, target] = []] = config.connections.targets;
    return { name, caFile: target?.caFile, context };
  };
  const [a, b] = [await seenBy('/a'), await seenBy('/b')];
  t.match(
    [a, b],
    [
      { name: 'one', caFile: '/a' },
      { name: 'one', caFile: '/b' },
    ],
  );
  t.not(a.context, b.context);
  t.equal(contexts.rows().length, 2);

  // Time for the watchers to read the files as they are now.
  await sleep(300);
  await put('two');
  await waitFor('the change to be noticed', () => changed.length > 0);
  t.match([await seenBy('/a'), await seenBy('/b')], [{ name: 'two' }, { name: 'two' }]);
  t.strictSame([events.length, changed.length], [1, 1], 'one watch for both');

  await rename(file, `${file}~`);
  t.match(await seenBy('/c'), { name: 'two', caFile: '/c' }, 'the first request while the file is away');
});

t.test('a broken config of one caller is removed from the status when it is corrected', async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  const config = join(bmuxd.folder, 'broken');
  await mkdir(config);
  await writeFile(join(config, 'bmux.toml'), 'this is no TOML');
  t.match(await bmuxd.bmuxd(['targets'], { BMUX_CONFIG_DIR: config }), { status: 1 });
  const told = await bmuxd.bmuxd(['status']);
  t.match(told, { status: 1, stdout: /broken\/bmux\.toml:1: not TOML/ });
  await writeFile(join(config, 'bmux.toml'), '');
  await waitFor('the status to be ready', async () => (await bmuxd.bmuxd(['status'])).status === 0);
});

t.test('a broken file that several contexts of one runtime dir read is told once', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'bmuxd-broken-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  await writeFile(join(dir, 'bmux.toml'), '[connections');
  const own = { HOME: dir, BMUX_CONFIG_DIR: dir, BMUX_RUNTIME_DIR: dir };
  const contexts = new Contexts({
    env: {},
    own: { env: own, cwd: dir },
    clock: SYSTEM_CLOCK,
    max: () => 4,
    isPinned: () => false,
    onChange: () => undefined,
    event: () => undefined,
    log: pino({ level: 'silent' }),
  });
  t.teardown(() => contexts.close());
  await contexts.openOwn();
  // The overlay of this caller is elsewhere, so it has a context of its own.
  await contexts.view({ env: { ...own, BMUX_STATE_DIR: join(dir, 'state') } }).catch(() => undefined);
  t.equal(contexts.rows().length, 2);
  t.match(contexts.problems(), [{ where: dir, failure: { code: 'config_unloadable' } }]);
  t.equal(contexts.problems().length, 1);
});
