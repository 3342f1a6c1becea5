// Tests the texts of `bmuxd status` and `status --watch` at 80 columns, and the rates.
import t from 'tap';
import type { Status, StreamRow, UpstreamRow } from '../../daemon/api/answers.ts';
import { readable } from '../../daemon/cli/doctor/doctor.ts';
import { rendered, renderedLive } from '../../daemon/cli/status/render.ts';
import { Rates } from '../../daemon/cli/status/watch.ts';
import { displayWidth } from '../../daemon/cli/table.ts';
import { fail } from '../../daemon/errors/fail.ts';
import { packageVersion } from '../../daemon/base/version.ts';

const UPSTREAM: UpstreamRow = {
  address: 'tls:gateway.example.org:7443',
  target: 'iroh://' + 'a'.repeat(64),
  transport: 'iroh',
  epoch: 4,
  compression: 'zstd',
  state: 'failing',
  failingSinceMs: Date.now() - 5000,
  roundTripMs: 123.4,
  spares: 0,
  connections: 12,
  warm: false,
  streams: 2,
  lastError: { code: 'iroh_relay_unreachable', class: 'relay', detail: 'x', atMs: Date.now() - 5000 },
};
const STATUS: Status = {
  schema: 1,
  state: 'ready',
  pid: 8629,
  version: packageVersion(),
  sinceMs: Date.now() - 60_000,
  log: 'stderr',
  socket: '/run/user/1000/bmuxd/control.sock',
  engines: [{ generation: 'mwsqradw', pid: 8688, version: '0', sinceMs: 0, state: 'serving', streams: 1 }],
  streams: 1,
  contexts: [],
  upstreams: [UPSTREAM, { ...UPSTREAM, target: '日本語'.repeat(20), state: 'warm' }],
  problems: [],
};
const STREAM: StreamRow = {
  id: 'mwsqradw-12',
  generation: 'mwsqradw',
  requestId: 'r',
  target: 'prod',
  transport: 'tls',
  state: 'live',
  clientName: 'bmux attach with a long name of its own',
  sinceMs: Date.now() - 1000,
  bytesUp: 1000,
  bytesDown: 123_456_789,
};

t.test('what stands above the tables is broken between words', async (t) => {
  const failure = fail('engine_unavailable', { why: 'it says nothing '.repeat(9).trim() }).data;
  const status = { ...STATUS, problems: [{ where: 'engine', failure }] };
  for (const room of [120, 80, 60, 40]) {
    for (const text of [rendered(status, room), renderedLive(status, [], new Map(), room).join('\n')]) {
      const [head = ''] = text.split('\n\nTARGET');
      for (const line of head.split('\n')) t.ok(displayWidth(line) <= room, `${String(room)}: ${line}`);
      t.match(head.replaceAll(/\s+/g, ' '), /ready pid 8629, up \d+ s, 1 live stream/);
      t.match(head.replaceAll(/\s+/g, ' '), failure.detail.trim());
    }
  }
  t.match(rendered(status, Infinity), `\nsocket ${STATUS.socket}\n\n! engine: ${failure.detail}\n`);
});

t.test('the status fits into 80 columns, and says the most important', async (t) => {
  for (const room of [80, 60, 40, 20]) {
    const [, ...tables] = rendered(STATUS, room).split(/\n\n(?=ENGINE|TARGET)/);
    t.equal(tables.length, 2);
    for (const line of tables.join('\n').split('\n'))
      t.ok(displayWidth(line) <= room, `${String(room)}: ${line}`);
    t.notMatch(tables.join('\n'), /^[A-Z ]*…/m, 'headings are whole');
  }
  const narrow = rendered(STATUS, 80);
  for (const line of narrow.split('\n')) t.ok(displayWidth(line) <= 80, line);
  t.match(narrow, /^TARGET .*STATE .*STREAMS .*LAST ERROR$/m);
  t.match(narrow, /relay: iroh_relay/);
  t.notMatch(narrow, /COMPRESSION/);
  t.match(rendered(STATUS, Infinity), /^TARGET +TRANSPORT +EPOCH +COMPRESSION .*CONNECTIONS .*LAST ERROR$/m);
});

t.test('a problem of a file names the file once', async (t) => {
  const path = '/home/ada/.config/bmuxd/bmuxd.toml';
  const invalid = fail('settings_invalid', { file: path, line: 4, key: 'x', why: 'no such setting' }).data;
  const problems = [{ where: path, failure: invalid }];
  t.match(rendered({ ...STATUS, problems }, 200), `\n! ${invalid.detail}\n`);
  t.ok(invalid.detail.startsWith(`${path}:4`));
  const away = { where: 'engine x', failure: fail('zstd_unavailable').data };
  t.match(rendered({ ...STATUS, problems: [away] }, 200), /\n! engine x: compressed streams/);
});

t.test('the live view fits, too, and begins with the busiest stream', async (t) => {
  const rates = new Rates();
  const idle = { ...STREAM, id: 'mwsqradw-11' };
  t.equal(rates.of([idle, STREAM], 1000).size, 0, 'no rate at the first look');
  const busy = { ...STREAM, bytesUp: 3000, bytesDown: STREAM.bytesDown + 4_000_000 };
  const now = rates.of([idle, busy], 3000);
  t.same(now.get(STREAM.id), { up: 1000, down: 2_000_000 });
  t.same(now.get(idle.id), { up: 0, down: 0 });
  const lines = renderedLive(STATUS, [idle, busy], now, 80);
  for (const line of lines) t.ok(displayWidth(line) <= 80, line);
  const [, ...tiny] = renderedLive(STATUS, [idle, busy], now, 20).join('\n').split('\n\n');
  for (const line of tiny.join('\n').split('\n')) t.ok(displayWidth(line) <= 20, line);
  const table = lines.slice(lines.findIndex((line) => line.startsWith('STREAM')));
  t.match(table[0], /^STREAM +TARGET .*UP\/s +DOWN\/s/);
  t.match(table[1], /^mwsqradw-12 +prod .*1\.0 kB +2\.0 MB/);
  t.match(table[2], /^mwsqradw-11 /);
  t.same(renderedLive({ ...STATUS, upstreams: [] }, [], now, 80).slice(1), [
    '',
    'no targets in use',
    '',
    'no streams',
  ]);
});

t.test('the report of the doctor fits into the terminal, and is whole elsewhere', async (t) => {
  const detail = 'TLS target unreachable: nobody answers at the address that its host name leads to';
  const rows = [
    { area: 'daemon', what: 'prod', detail, ms: 20 },
    { area: 'daemon', what: '日本', detail: 'warm' },
    { area: 'daemon', what: '日本語'.repeat(8), detail },
  ];
  t.same(readable(rows, 60).split('\n'), [
    'daemon',
    '    prod  TLS target unreachable: nobody answers at the',
    '          address that its host name leads to (20 ms)',
    '    日本  warm',
    `    ${'日本語'.repeat(8)}`,
    '          TLS target unreachable: nobody answers at the',
    '          address that its host name leads to',
    'Nothing is wrong.',
    '',
  ]);
  t.same(readable(rows, 36).split('\n'), [
    'daemon',
    '    prod',
    '      TLS target unreachable: nobody',
    '      answers at the address that',
    '      its host name leads to (20 ms)',
    '    日本  warm',
    `    ${'日本語'.repeat(8)}`,
    '      TLS target unreachable: nobody',
    '      answers at the address that',
    '      its host name leads to',
    'Nothing is wrong.',
    '',
  ]);
  t.match(readable(rows, Infinity), `    prod  ${detail} (20 ms)\n    日本  warm\n`);
});
