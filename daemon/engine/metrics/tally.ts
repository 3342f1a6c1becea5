// Counts what the engine does, for the metrics of the daemon. A histogram is kept as one number for each bucket.
import type { PlanningRow, StreamRow, Transport } from '../../api/answers.ts';
import { METRICS, type MetricName } from '../../api/metrics/table.ts';
import type { Sample, Tally as Counted } from '../../api/metrics/tally.ts';
import type { ErrorClass } from '../../base/failure.ts';
import { residentBytes } from '../../base/process/memory.ts';

type Labels = Readonly<Record<string, string>>;
type Entry = 'streams_socket' | 'target_socket';

interface Distribution {
  readonly labels: Labels;
  /** Values of each bucket alone; the last one is for those above all bounds. */
  readonly counts: number[];
  sum: number;
}

/** The bytes of one stream after the Hello. */
export type StreamBytes = Pick<StreamRow, 'bytesUp' | 'bytesDown'>;

export class Tally {
  readonly #generation: string;
  readonly #counters = new Map<
    string,
    { readonly name: MetricName; readonly labels: Labels; value: number }
  >();
  readonly #durations = new Map<string, Distribution & { readonly name: MetricName }>();
  #sequence = 0;
  #changes = 0;

  constructor(generation: string) {
    this.#generation = generation;
  }

  /** Grows with each count. */
  get changes(): number {
    return this.#changes;
  }

  requested(entry: Entry): void {
    this.#add('bmuxd_stream_requests_total', { entry });
  }

  refused(kind: ErrorClass): void {
    this.#add('bmuxd_stream_refusals_total', { class: kind });
  }

  nothingThere(): void {
    this.#add('bmuxd_stream_nothing_there_total', {});
  }

  /** A stream is open, `ms` after its request. */
  opened(transport: Transport, warm: boolean, ms: number): void {
    this.#observe('bmuxd_stream_open_duration_seconds', transport, warm, ms);
  }

  /** The first byte of a server has come, `ms` after the request. */
  answered(transport: Transport, warm: boolean, ms: number): void {
    this.#observe('bmuxd_stream_first_answer_duration_seconds', transport, warm, ms);
  }

  /** A stream that was open is over. `lost`: why its client may not have got everything. */
  over(transport: Transport, bytes: StreamBytes, lost: string | undefined): void {
    for (const { labels, value } of bytesOf(transport, bytes))
      this.#add('bmuxd_stream_bytes_total', labels, value);
    if (lost !== undefined) this.#add('bmuxd_streams_lost_total', { transport });
  }

  /** All counts so far, with the bytes of the live streams, and what is there now. */
  counted(
    live: { rows(): readonly StreamRow[] },
    sockets: { planningRows(): readonly PlanningRow[] },
  ): Counted {
    const streams = live.rows();
    const counters: Sample[] = [...this.#counters.values()].map((counter) => ({ ...counter }));
    for (const row of streams) counters.push(...bytesOf(row.transport, row));
    for (const duration of this.#durations.values()) counters.push(...samplesOf(duration.name, duration));
    const { user, system } = process.cpuUsage();
    const labels = { process: 'engine' };
    counters.push({ name: 'bmuxd_process_cpu_seconds_total', labels, value: (user + system) / 1e6 });
    const resident = residentBytes();
    const now = streams.map(({ transport, state }): Sample => {
      return { name: 'bmuxd_streams', labels: { transport, state }, value: 1 };
    });
    return {
      generation: this.#generation,
      sequence: (this.#sequence += 1),
      counters,
      gauges: [
        ...now,
        { name: 'bmuxd_stream_requests_planning', labels: {}, value: sockets.planningRows().length },
        ...(resident === undefined
          ? []
          : [{ name: 'bmuxd_process_resident_memory_bytes', labels, value: resident } as const]),
      ],
    };
  }

  #add(name: MetricName, labels: Labels, value = 1): void {
    this.#changes += 1;
    const key = seriesKey(name, labels);
    const counter = this.#counters.get(key);
    if (counter === undefined) this.#counters.set(key, { name, labels, value });
    else counter.value += value;
  }

  #observe(
    name: 'bmuxd_stream_open_duration_seconds' | 'bmuxd_stream_first_answer_duration_seconds',
    transport: Transport,
    warm: boolean,
    ms: number,
  ): void {
    this.#changes += 1;
    const labels = { transport, warmth: warm ? 'warm' : 'cold' };
    const key = seriesKey(name, labels);
    const { buckets } = METRICS[name];
    const known = this.#durations.get(key) ?? {
      name,
      labels,
      counts: buckets.map(() => 0).concat(0),
      sum: 0,
    };
    this.#durations.set(key, known);
    const seconds = ms / 1000;
    const bucket = buckets.findIndex((bound) => seconds <= bound);
    const index = bucket === -1 ? buckets.length : bucket;
    known.counts[index] = (known.counts[index] ?? 0) + 1;
    known.sum += seconds;
  }
}

function seriesKey(name: string, labels: Labels): string {
  return [name, ...Object.values(labels)].join('|');
}

function bytesOf(transport: Transport, { bytesUp, bytesDown }: StreamBytes): Sample[] {
  const name = 'bmuxd_stream_bytes_total';
  return [
    { name, labels: { transport, direction: 'up' }, value: bytesUp },
    { name, labels: { transport, direction: 'down' }, value: bytesDown },
  ];
}

/** The samples of a histogram: each bucket counts the ones below it too. */
function samplesOf(name: MetricName, { labels, counts, sum }: Distribution): Sample[] {
  const row = METRICS[name];
  const bounds = [...('buckets' in row ? row.buckets : []).map(String), '+Inf'];
  let below = 0;
  const buckets = bounds.map((le, index): Sample => {
    below += counts[index] ?? 0;
    return { name: `${name}_bucket`, labels: { ...labels, le }, value: below };
  });
  return [
    ...buckets,
    { name: `${name}_sum`, labels, value: sum },
    { name: `${name}_count`, labels, value: below },
  ];
}
