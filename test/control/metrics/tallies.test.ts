// Tests how the counts of several engines are added up, and how they are printed.
import fc from 'fast-check';
import t from 'tap';
import { METRICS } from '../../../daemon/api/metrics/table.ts';
import type { Sample, Tally } from '../../../daemon/api/metrics/tally.ts';
import { exposition } from '../../../daemon/control/metrics/exposition.ts';
import { Tallies } from '../../../daemon/control/metrics/tallies.ts';
import { Tally as Counter } from '../../../daemon/engine/metrics/tally.ts';

const NAME = 'bmuxd_process_cpu_seconds_total';

function tally(generation: string, sequence: number, value: number): Tally {
  const labels = { process: 'engine' };
  return {
    generation,
    sequence,
    counters: [{ name: NAME, labels, value }],
    gauges: [{ name: 'bmuxd_process_resident_memory_bytes', labels, value: 7 }],
  };
}

t.test('counters never go down, whatever engines say in whatever order', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(200), fc.double({ min: 0, max: 3, noNaN: true })), { maxLength: 400 }),
      (steps) => {
        const tallies = new Tallies();
        const said = new Map<number, { sequence: number; value: number }>();
        let before = 0;
        for (const [engine, more] of steps) {
          const { sequence, value } = said.get(engine) ?? { sequence: 0, value: 0 };
          said.set(engine, { sequence: sequence + 1, value: value + more });
          const generation = `g${String(engine).padStart(3, '0')}`;
          tallies.heard(tally(generation, sequence + 1, value + more));
          // An answer that comes late.
          tallies.heard(tally(generation, sequence, value));
          const now = tallies.counters()[0]?.value ?? 0;
          if (now < before) return false;
          before = now;
        }
        return true;
      },
    ),
  );
  t.end();
});

t.test('an engine that has ended counts on, its gauges do not', (t) => {
  const tallies = new Tallies();
  tallies.heard(tally('a', 1, 2));
  tallies.heard(tally('b', 1, 3));
  t.match(tallies.counters(), [{ value: 5 }]);
  t.match(tallies.gauges(['b']), [{ value: 7 }]);
  for (let count = 0; count < 100; count += 1)
    tallies.heard(tally(`c${String(count).padStart(2, '0')}`, 1, 1));
  t.match(tallies.counters(), [{ value: 105 }]);
  tallies.heard(tally('a', 2, 4));
  t.match(tallies.counters(), [{ value: 105 }], 'what is added up is not counted again');
  t.end();
});

t.test('only metrics and labels of the table are printed', (t) => {
  const text = exposition([
    { name: 'bmuxd_build_info', labels: { version: 'a"b\\c\nd' }, value: 1 },
    { name: 'bmuxd_spares', labels: { transport: 'tls' }, value: 2 },
    { name: 'bmuxd_spares', labels: { transport: 'pigeon' }, value: 3 },
    { name: 'bmuxd_spares', labels: {}, value: 4 },
    { name: 'bmuxd_spares', labels: { transport: 'tls', target: 'prod' }, value: 5 },
    { name: 'bmuxd_unknown', labels: {}, value: 6 },
  ]);
  t.match(text, 'bmuxd_build_info{version="a\\"b\\\\c\\nd"} 1\n');
  t.same(text.match(/^bmuxd_spares.*/gm), [
    'bmuxd_spares{transport="local"} 0',
    'bmuxd_spares{transport="tls"} 2',
    'bmuxd_spares{transport="iroh"} 0',
    'bmuxd_spares{transport="ssh"} 0',
  ]);
  t.notMatch(text, /unknown|pigeon|prod/);
  for (const name of Object.keys(METRICS)) t.match(text, `# TYPE ${name} `);
  t.end();
});

t.test('an engine counts requests, durations and bytes', (t) => {
  const counter = new Counter('g');
  counter.requested('target_socket');
  counter.refused('dns');
  counter.nothingThere();
  counter.opened('tls', true, 2);
  counter.opened('tls', true, 40);
  counter.opened('tls', true, 60_000);
  counter.over('tls', { bytesUp: 1, bytesDown: 10 }, 'the connection to its server was lost');
  const live = { transport: 'tls', state: 'live', bytesUp: 2, bytesDown: 20 } as const;
  const row = {
    ...live,
    id: 'g-1',
    generation: 'g',
    requestId: 'r',
    target: 't',
    clientName: '',
    sinceMs: 0,
  };
  const counted = counter.counted({ rows: () => [row] }, { planningRows: () => [] });
  const lines = linesOf([...counted.counters, ...counted.gauges]);
  for (const line of [
    'bmuxd_stream_requests_total{entry="target_socket"} 1',
    'bmuxd_stream_requests_total{entry="streams_socket"} 0',
    'bmuxd_stream_refusals_total{class="dns"} 1',
    'bmuxd_stream_nothing_there_total 1',
    'bmuxd_stream_bytes_total{transport="tls",direction="up"} 3',
    'bmuxd_stream_bytes_total{transport="tls",direction="down"} 30',
    'bmuxd_streams_lost_total{transport="tls"} 1',
    'bmuxd_streams{transport="tls",state="live"} 1',
    'bmuxd_stream_open_duration_seconds_bucket{transport="tls",warmth="warm",le="0.001"} 0',
    'bmuxd_stream_open_duration_seconds_bucket{transport="tls",warmth="warm",le="0.0025"} 1',
    'bmuxd_stream_open_duration_seconds_bucket{transport="tls",warmth="warm",le="0.05"} 2',
    'bmuxd_stream_open_duration_seconds_bucket{transport="tls",warmth="warm",le="+Inf"} 3',
    'bmuxd_stream_open_duration_seconds_sum{transport="tls",warmth="warm"} 60.042',
    'bmuxd_stream_open_duration_seconds_count{transport="tls",warmth="warm"} 3',
  ])
    t.ok(lines.includes(line), line);
  t.end();
});

function linesOf(samples: readonly Sample[]): string[] {
  return exposition(samples).split('\n');
}
