// Tests bmuxd.toml against the table of daemon/config/settings/table.ts.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { loadSettings, parseSettings } from '../../../daemon/config/settings/load.ts';
import {
  accepts,
  defaultSettings,
  SETTINGS,
  takenBy,
  TARGET_SETTINGS,
  type SettingRow,
} from '../../../daemon/config/settings/table.ts';
import { folderFor, put } from '../files.ts';

const parsed = (text: string) => parseSettings('/bmuxd.toml', Buffer.from(text));

t.test('the tables', (t) => {
  const rows: readonly SettingRow[] = [...SETTINGS, ...TARGET_SETTINGS];
  for (const row of rows) {
    t.ok(accepts(row, row.default), `${row.name}: ${takenBy(row)}`);
    t.ok(row.doc.endsWith('.'));
  }
  const { targets, ...defaults } = defaultSettings();
  const whole: readonly SettingRow[] = SETTINGS;
  t.strictSame(defaults, Object.fromEntries(whole.map((row) => [row.name, row.default])));
  t.strictSame(targets, {});
  t.end();
});

t.test('a whole file', async (t) => {
  const folder = await folderFor(t);
  const path = join(folder, 'bmuxd.toml');
  t.strictSame(await loadSettings(path), { settings: defaultSettings() }, 'no file');
  await put(
    path,
    `control_plane = { timeout = 1 }
    [log]\nlevel = "trace"
    [engine]\ndrain_grace = 0.5
    [iroh]\nrelays = ["https://r.example/", "http://127.0.0.1:3340"]
    [streams]\nmax_waiting = 1\nclient_buffer_limit = 65536
    [contexts]\nmax = 2
    [targets."my host"]\ncompression = "zstd"
    [targets.empty]
    [targets."__proto__"]\ncompression = "none"`,
  );
  const { settings, problem } = await loadSettings(path);
  t.equal(problem, undefined);
  const { targets } = settings;
  const rest = { ...settings, targets: undefined };
  t.strictSame(rest, {
    ...defaultSettings(),
    targets: undefined,
    'log.level': 'trace',
    'engine.drain_grace': 0.5,
    'iroh.relays': ['https://r.example/', 'http://127.0.0.1:3340'],
    'streams.max_waiting': 1,
    'streams.client_buffer_limit': 65536,
    'contexts.max': 2,
    'control_plane.timeout': 1,
  });
  t.strictSame(Object.entries(targets), [['my host', { compression: 'zstd' }], ['empty', {}], ['__proto__', { compression: 'none' }]]); // oxfmt-ignore
  t.equal(JSON.stringify(settings).includes('"my host":{"compression":"zstd"}'), true, 'plain JSON');
  await mkdir(join(folder, 'dir'));
  t.match(await loadSettings(join(folder, 'dir')), {
    settings: defaultSettings(),
    problem: { code: 'file_unreadable' },
  });
});

t.test('what is wrong is named, and the rest counts', (t) => {
  const rows: readonly (readonly [string, string])[] = [
    ['\nx', '2: not TOML: '],
    ['[log]\nlevel = "verbose"', '2: log.level: "verbose" is not one of "trace", "debug", "info", "warn", "error", "fatal"'],
    ['log = 1', '1: log: 1 is not a table'],
    ['[log]\nlevle = "info"', '2: log.levle: no such setting; did you mean log.level?'],
    ['[stream]\nclient_buffer_limit = 1', '1: stream: no such setting; did you mean streams.client_buffer_limit?'],
    ['[something.else]\nentirely = 1', '1: something: no such setting'],
    ['contexts.max = 0', '1: contexts.max: 0 is not a whole number from 1 to 1024'],
    ['contexts.max = 1.5', '1: contexts.max: 1.5 is not a whole number from 1 to 1024'],
    ['contexts.max = 99999999999999999999', '1: contexts.max: 99999999999999999999 is not a whole number'],
    ['engine.drain_grace = nan', '1: engine.drain_grace: NaN is not a number from 0 to 3600 (s)'],
    ['iroh.relays = []', '1: iroh.relays: [] is not one of "default", "disabled", or a list of 1 to 32 http or https URLs'],
    ['iroh.relays = ["ftp://x"]', '1: iroh.relays: ["ftp://x"] is not'],
    ['streams.client_buffer_limit = 1', '1: streams.client_buffer_limit: 1 is not a whole number from 65536 to 1073741824 (bytes)'],
    ['targets = 1', '1: targets: 1 is not a table'],
    ['targets.a = 1', '1: targets.a: 1 is not a table'],
    ['[targets.a]\ncompression = "lz4"', '2: targets.a.compression: "lz4" is not one of "auto", "zstd", "none"'],
    ['[targets.a]\nspares = 9', '2: targets.a.spares: 9 is not "auto", or a whole number from 0 to 4'],
    ['[targets.a]\nwarm = 1', '2: targets.a.warm: 1 is not true, false or "auto"'],
    ['[targets.a]\ncompresion = "zstd"', '2: targets.a.compresion: no such setting; did you mean compression?'],
    ['[warmth]\nttl = 1\n[log]\nlevel = 1\n[targets.a]\nspare = 0', '2: warmth.ttl: no such setting; line 4: log.level: 1 is not one of "trace", "debug", "info", "warn", "error", "fatal"; line 6: targets.a.spare: no such setting; did you mean spares?'],
  ]; // oxfmt-ignore
  for (const [text, expected] of rows) {
    const { problem } = parsed(text);
    t.equal(problem?.code, 'settings_invalid');
    const detail = problem?.data.detail ?? '';
    t.ok(detail.startsWith(`/bmuxd.toml:${expected}`), detail);
    if (!expected.endsWith(': ') && !expected.includes(' is not') && !expected.includes('you mean')) t.equal(detail, `/bmuxd.toml:${expected}`);
  }
  const { settings, problem } = parsed('contexts.max = 3\nlog.level = "x"\n[targets.a]\ncompression = "none"\nspares = 0\nwarm = true');
  t.match(settings, { 'contexts.max': 3, 'log.level': 'info', targets: { a: { compression: 'none', spares: 0, warm: true } } });
  t.match(problem?.message, '/bmuxd.toml:2: ');
  t.end();
}); // oxfmt-ignore
