// docs/bmux-protocol.md, "Slots" and "Slot manifest": which slot is active, and what a manifest may contain.
import { join } from 'node:path';
import t from 'tap';
import { bmuxPaths, type Env } from '../../../daemon/base/paths.ts';
import {
  activeSlot,
  parseManifest,
  slotNameOf,
  slotNameProblem,
  slotsOf,
} from '../../../daemon/config/bmux/slots.ts';
import { failureOf } from '../../policy/failure-of.ts';
import { realBmux, run } from '../../real/index.ts';
import { folderFor, put } from '../files.ts';

const H: Env = { HOME: '/h', SET: 'set' };

/** The slots that manifest texts declare, lowest first. */
function slots(texts: string | readonly string[], env: Env = H) {
  const files = [texts]
    .flat()
    .map((text, index) => parseManifest(`/${String(index)}.toml`, Buffer.from(text)));
  return slotsOf(files, { env }, bmuxPaths(env, 'linux'));
}

t.test('the name', (t) => {
  const rows: readonly (readonly [string | undefined, Parameters<typeof slotNameOf>[0]])[] = [
    [undefined, { env: {} }],
    ['dev', { env: { BMUX_SLOT_NAME: ' dev ' } }],
    [undefined, { env: { BMUX_SLOT_NAME: '  ' } }],
    ['dev', { env: {}, programName: '/usr/bin/bmux-dev' }],
    ['a', { env: { BMUX_SLOT_NAME: 'a' }, programName: 'bmux-dev' }],
    ['b', { env: { BMUX_SLOT_NAME: 'a' }, explicit: ' b' }],
    ['a', { env: { BMUX_SLOT_NAME: 'a' }, explicit: '' }],
    ...['bmux', 'bmux-', 'bmux-default', 'bmux-a b', 'xbmux-dev'].map((programName) => [undefined, { env: {}, programName }] as const),
  ]; // oxfmt-ignore
  for (const [expected, inputs] of rows) t.equal(slotNameOf(inputs), expected, JSON.stringify(inputs));
  for (const good of ['a', 'A-Z_0.9', 'Default']) t.equal(slotNameProblem(good), undefined, good);
  for (const bad of ['', 'a b', 'a/b', 'ä', 'a\n', 'default', 'current', 'all'])
    t.type(slotNameProblem(bad), 'string', bad);
  t.end();
});

t.test('one slot', (t) => {
  t.strictSame(slots('[slots.dev]\nbinary = "/b"').get('dev'), {
    name: 'dev',
    binary: '/b',
    inheritBase: true,
    configDir: '/h/.config/bmux/slots/dev',
    runtimeDir: '/tmp/bmux/slots/dev',
    dataDir: '/h/.local/share/bmux/slots/dev/data',
    stateDir: '/h/.local/state/bmux/slots/dev',
    logDir: '/h/.local/state/bmux/slots/dev/logs',
  });
  const env = {
    ...H,
    BMUX_SLOTS_ROOT: '/sr',
    BMUX_RUNTIME_DIR: '/br',
    XDG_RUNTIME_DIR: '/xr',
    XDG_STATE_HOME: '/xs',
  };
  t.match(slots('[slots.dev]\nbinary = "/b"', env).get('dev'), {
    runtimeDir: '/xr/bmux/slots/dev',
    dataDir: '/sr/dev/data',
    stateDir: '/xs/bmux/slots/dev',
  });
  const written = `[slots.dev]
    binary = "~/\${SET}"
    inherit_base = false
    config_dir = "\${NOPE:-~/c}"
    runtime_dir = "$SET/\${1x}/\${}"
    data_dir = "\${SET:-x}"
    state_dir = "/s"
    unknown = 1`;
  t.strictSame(slots(written).get('dev'), {
    name: 'dev',
    binary: '/h/set',
    inheritBase: false,
    configDir: '/h/c',
    runtimeDir: '$SET/${1x}/${}',
    dataDir: 'set',
    stateDir: '/s',
    logDir: '/s/logs',
  });
  t.end();
});

t.test('later files override by name', (t) => {
  const found = slots([
    '[slots.a]\nbinary = "1"\nlog_dir = "/l"\n[slots.b]\nbinary = "2"',
    '[slots.a]\nbinary = "3"',
  ]);
  t.match([...found.keys()], ['a', 'b']);
  t.match(
    found.get('a'),
    { binary: '3', logDir: '/h/.local/state/bmux/slots/a/logs' },
    'whole slots, not keys',
  );
  t.end();
});

t.test('a manifest that is wrong', async (t) => {
  const rows: readonly (readonly [string, string, string])[] = [
    ['x x', 'slots_invalid', '/0.toml:1: not TOML: '],
    ['[slots.dev]\nno = 1', 'slots_invalid', '/0.toml:1: slots.dev: binary is missing'],
    ['[slots.dev]\nbinary = "b"\ninherit_base = "yes"', 'slots_invalid', '/0.toml:3: slots.dev.inherit_base: "yes" is not true or false'],
    ['\nslots = 1', 'slots_invalid', '/0.toml:2: slots: 1 is not a table'],
    ['extend = "x"', 'slots_invalid', '/0.toml:1: extend: "x" is not a list of strings'],
    ['[slots."a b"]\nbinary = "b"', 'slots_invalid', '/0.toml:1: slots."a b": invalid slot name "a b": must match [A-Za-z0-9._-]+'],
    ['[slots.all]\nbinary = "b"', 'slots_invalid', '/0.toml:1: slots.all: invalid slot name "all": is reserved'],
    ['[slots.dev]\nbinary = "b"\ndata_dir = "${NOPE}"', 'slot_variable_unset', 'environment variable NOPE is not set, in data_dir of slot "dev" (/0.toml)'],
    ['[slots.a]\nbinary = "b"\nruntime_dir = "/r"\n[slots.b]\nbinary = "b"\nruntime_dir = "/r"', 'slot_dirs_shared', 'slots "a" and "b" share the runtime dir /r (/0.toml)'],
  ]; // oxfmt-ignore
  for (const [text, code, detail] of rows) {
    const data = await failureOf(() => slots(text));
    t.match(data, { code, detail: data.detail.startsWith(detail) ? data.detail : detail });
  }
});

t.test('the active slot', async (t) => {
  const folder = await folderFor(t);
  const env = { HOME: folder, BMUX_SLOTS_MANIFEST: 'm/slots.toml', BMUX_SLOT_NAME: 'dev', MORE: 'more' };
  const paths = bmuxPaths(env, 'linux', folder);
  const ask = (extra: Env = {}) => activeSlot({ env: { ...env, ...extra }, paths, cwd: folder });
  const manifest = join(folder, 'm/slots.toml');

  t.strictSame(await activeSlot({ env: { HOME: folder }, paths }), { warnings: [], files: [] }, 'nobody asks: no file is read');
  t.match(await failureOf(() => ask()), {
    code: 'slot_unknown',
    detail:
      'active slot "dev" is not declared in the slot manifest (known: []). Add it to slots.toml or unset BMUX_SLOT_NAME.',
  });

  await put(manifest, 'extend = ["../more/${MORE}.toml", "gone.toml", "slots.toml", "~/home.toml"]\n[slots.dev]\nbinary = "1"\n[slots.low]\nbinary = "l"');
  await put(join(folder, 'more/more.toml'), 'extend = ["deep.toml", "../m/slots.toml"]\n[slots.dev]\nbinary = "2"');
  await put(join(folder, 'more/deep.toml'), '[slots.dev]\nbinary = "4"\n[slots.deep]\nbinary = "d"');
  await put(join(folder, 'home.toml'), '[slots.dev]\nbinary = "3"');
  const found = await ask();
  t.equal(found.slot?.binary, '4', 'what an extended file extends comes last');
  t.strictSame(
    found.files,
    ['m/slots.toml', 'm/../more/more.toml', 'm/gone.toml', 'home.toml', 'm/../more/deep.toml'].map((file) => `${folder}/${file}`),
    'missing ones are looked at too',
  );
  t.match(await failureOf(() => ask({ BMUX_SLOT_NAME: 'x"' })), {
    detail:
      'active slot "x\\"" is not declared in the slot manifest (known: ["deep", "dev", "low"]). Add it to slots.toml or unset BMUX_SLOT_NAME.',
  });

  await put(join(folder, 'more/deep.toml'), '[slots');
  const broken = await ask();
  t.equal(broken.slot, undefined, 'an unreadable manifest counts as no slot');
  t.match(broken.warnings, [/^the slot manifest cannot be read, so slot "dev" counts as no slot: .*deep\.toml:1: not TOML/]);
  t.equal(broken.files.length, 5);
  await put(manifest, 'extend = ["${NOPE}"]');
  t.match((await ask()).warnings, [/environment variable NOPE is not set, in extend/]);
  t.match((await ask({ BMUX_SLOTS_MANIFEST: folder })).warnings, [/failed reading/]);
}); // oxfmt-ignore

const bmux = realBmux();
t.test('the real bmux', { skip: bmux === undefined && 'real bmux not found' }, async (t) => {
  const folder = await folderFor(t);
  const manifest = join(folder, 'slots.toml');
  const env = { HOME: folder, PATH: process.env['PATH'] ?? '', BMUX_SLOTS_MANIFEST: manifest, XDG_STATE_HOME: join(folder, 'xs') };
  const paths = bmuxPaths(env);
  await put(manifest, 'extend = ["a.toml", "b.toml"]\n[slots.stable]\nbinary = "/b"\n[slots.dev]\nbinary = "/first"');
  await put(join(folder, 'a.toml'), 'extend = ["x.toml"]');
  await put(join(folder, 'b.toml'), 'extend = ["y.toml"]');
  await put(join(folder, 'x.toml'), '[slots.dev]\nbinary = "~/${NOPE:-x}"\ndata_dir = "/d"');
  await put(join(folder, 'y.toml'), '[slots.dev]\nbinary = "/y"');

  const wrong = { ...env, BMUX_SLOT_NAME: ' x"\u00e9\n' };
  const { stderr } = await run(bmux ?? '', ['list-sessions'], wrong);
  const { detail } = await failureOf(() => activeSlot({ env: wrong, paths }));
  t.ok(stderr.includes(`bmux error: ${detail}`), `${stderr} says ${detail}`);

  const { stdout } = await run(bmux ?? '', ['slot', 'paths', 'dev'], env);
  const { slot } = await activeSlot({ env, paths, explicit: 'dev' });
  const ours = [
    ['slot', slot?.name],
    ['binary', slot?.binary],
    ['config_dir', slot?.configDir],
    ['runtime_dir', slot?.runtimeDir],
    ['data_dir', slot?.dataDir],
    ['state_dir', slot?.stateDir],
    ['log_dir', slot?.logDir],
    ['inherit_base', String(slot?.inheritBase)],
  ];
  t.strictSame(stdout.trim().split('\n').map((line) => line.split(/ *= /)), ours);
}); // oxfmt-ignore
