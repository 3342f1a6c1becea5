// docs/bmux-protocol.md, "Config layers": which files are read, and which overrides which.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { bmuxPaths, type Env } from '../../../daemon/base/paths.ts';
import { composeConfig } from '../../../daemon/config/bmux/compose.ts';
import { readLayers, type Layers } from '../../../daemon/config/bmux/layers.ts';
import type { Slot } from '../../../daemon/config/bmux/slots.ts';
import { failureOf } from '../../policy/failure-of.ts';
import { folderFor, put } from '../files.ts';

const slot: Slot = {
  name: 'dev',
  binary: '/b',
  inheritBase: true,
  configDir: '/x',
  runtimeDir: '/x',
  dataDir: '/x',
  stateDir: '/x',
  logDir: '/x',
};

function timeoutOf(layers: Layers): number {
  const facts = { host: '', os: 'linux', runtimeName: '', env: {} };
  return composeConfig(layers, facts).config.general.serverTimeoutMs;
}

t.test('order', async (t) => {
  const folder = await folderFor(t);
  const env: Env = { HOME: folder, BMUX_STATE_DIR: join(folder, 'state') };
  const paths = bmuxPaths(env, 'linux', folder);
  const file = {
    base: join(folder, '.config/bmux/base.toml'),
    main: join(folder, '.config/bmux/bmux.toml'),
    overlay: join(folder, 'state/config-overlay.toml'),
    named: join(folder, 'named.toml'),
    explicit: join(folder, 'explicit.toml'),
  };
  const inputs = {
    env: { ...env, BMUX_CONFIG: file.named },
    paths,
    slot,
    explicitFile: file.explicit,
  };
  const all = Object.values(file);
  for (const [index, path] of all.entries())
    await put(path, `[general]\nserver_timeout = ${String(index + 1)}\n`);
  const everything = await readLayers(inputs);
  t.strictSame(everything.files, all);
  t.equal(timeoutOf(everything), 5, 'the explicit file wins');
  t.equal(timeoutOf(await readLayers({ ...inputs, explicitFile: undefined })), 4, 'then BMUX_CONFIG');
  const plain = { env, paths, slot };
  t.equal(timeoutOf(await readLayers(plain)), 3, 'then the overlay');
  await rm(file.overlay);
  t.equal(timeoutOf(await readLayers(plain)), 2, 'then bmux.toml');
  await rm(file.main);
  const low = await readLayers(plain);
  t.equal(timeoutOf(low), 1, 'then base.toml');
  t.strictSame(low.files, [file.base, file.main, file.overlay], 'files that do not exist are looked at too');

  const noBase: readonly (readonly [string, Env, Slot | undefined])[] = [
    ['no slot', env, undefined],
    ['inherit_base = false', env, { ...slot, inheritBase: false }],
    ...['1', 'true', 'YES ', 'on'].map(
      (word) => [word, { ...env, BMUX_NO_BASE_CONFIG: word }, slot] as const,
    ),
  ];
  for (const [title, someEnv, someSlot] of noBase) {
    t.equal(
      timeoutOf(await readLayers({ env: someEnv, paths, slot: someSlot })),
      5000,
      `no base.toml: ${title}`,
    );
  }
  const off = { env: { ...env, BMUX_NO_BASE_CONFIG: '0' }, paths, slot };
  t.equal(timeoutOf(await readLayers(off)), 1, 'BMUX_NO_BASE_CONFIG=0');
  await put(file.overlay, '[general]\nserver_timeout = 3\n');
  t.equal(timeoutOf(await readLayers({ env, paths })), 3, 'the overlay counts without bmux.toml');
});

t.test('base.toml is in the default config root, whatever BMUX_CONFIG_DIR says', async (t) => {
  const folder = await folderFor(t);
  const env = { HOME: folder, BMUX_CONFIG_DIR: join(folder, 'c') };
  await put(join(folder, '.config/bmux/base.toml'), '[general]\nserver_timeout = 1\n');
  await put(join(folder, 'c/base.toml'), '[general]\nserver_timeout = 2\n');
  t.equal(timeoutOf(await readLayers({ env, paths: bmuxPaths(env, 'linux'), slot })), 1);
});

t.test('the first folder that has bmux.toml (macOS)', async (t) => {
  const folder = await folderFor(t);
  const env = { HOME: folder, TMPDIR: folder };
  const paths = bmuxPaths(env, 'darwin');
  await put(join(folder, '.config/bmux/bmux.toml'), '[general]\nserver_timeout = 1\n');
  t.equal(timeoutOf(await readLayers({ env, paths })), 1);
  await put(join(folder, 'Library/Application Support/bmux/bmux.toml'), '[general]\nserver_timeout = 2\n');
  t.equal(timeoutOf(await readLayers({ env, paths })), 2);
});

t.test('named files must exist', async (t) => {
  const folder = await folderFor(t);
  const env = { HOME: folder, BMUX_CONFIG: 'gone.toml' };
  const paths = bmuxPaths(env, 'linux', folder);
  const marks = new Map<string, string>();
  t.match(await failureOf(() => readLayers({ env, paths, cwd: folder, marks })), {
    code: 'config_missing',
    detail: `the config file ${join(folder, 'gone.toml')} that BMUX_CONFIG names does not exist`,
  });
  t.equal(marks.get(join(folder, 'gone.toml')), 'missing', 'its coming is noticed');
  t.match(await failureOf(() => readLayers({ env: { HOME: folder }, paths, explicitFile: '/no/such' })), {
    detail: /that --config names/,
  });
  await put(join(folder, 'gone.toml'), '[general]\nserver_timeout = 7\n');
  t.equal(timeoutOf(await readLayers({ env, paths, cwd: folder })), 7, 'relative to the cwd of the caller');
});
