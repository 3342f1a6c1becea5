// The metrics of `GET /v1/metrics`, as data: names, units, labels and their values. Engines count, control adds up and prints.
import { ERROR_CLASSES } from '../../base/failure.ts';
import type { BrokerEvent, Transport } from '../answers.ts';

/** The names of a type, all of them: a new one that is missing here does not compile. */
function all<T extends string>(names: Readonly<Record<T, true>>): readonly T[] {
  return Object.keys(names) as T[];
}

const TRANSPORTS = all<Transport>({ local: true, tls: true, iroh: true, ssh: true });
/** Those that every stream causes have metrics of their own. */
const EVENTS = all<Exclude<BrokerEvent['type'], 'stream opened' | 'stream over' | 'stream refused'>>({
  'optimistic open failed': true,
  'connection lost': true,
  'connection made': true,
  'connection failed': true,
  'network changed': true,
  'config changed': true,
  'config broken': true,
  'trust changed': true,
  'engine ready': true,
  'engine gone': true,
  'target socket taken back': true,
});
/** Whether a dial was needed for the stream. */
const WARMTHS = ['warm', 'cold'] as const;

/** Upper bounds, s: from a spare on this machine to a dial that runs out of time. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

export interface MetricRow {
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** The values that each label may have; undefined: one value, which this process chooses. */
  readonly labels?: Readonly<Record<string, readonly string[] | undefined>>;
  /** Upper bounds of a histogram. */
  readonly buckets?: readonly number[];
  /** What it counts, for the documentation and the line HELP. */
  readonly help: string;
}

/** By the rules of Prometheus: base units, `_total` for counters, and no label that grows with targets or clients. */
export const METRICS = {
  bmuxd_build_info: {
    type: 'gauge',
    labels: { version: undefined },
    help: 'Always 1; the label names the version of the control process.',
  },
  bmuxd_start_time_seconds: { type: 'gauge', help: 'When control started, seconds since 1970.' },
  bmuxd_ready: { type: 'gauge', help: '1 when the daemon is ready, 0 when it is starting or degraded.' },
  bmuxd_problems: { type: 'gauge', help: 'Problems that `bmuxd status` shows.' },
  bmuxd_stream_requests_total: {
    type: 'counter',
    labels: { entry: ['streams_socket', 'target_socket'] },
    help: 'Requests for streams, by the kind of socket on which they came.',
  },
  bmuxd_stream_refusals_total: {
    type: 'counter',
    labels: { class: Object.keys(ERROR_CLASSES) },
    help: 'Requests for streams that were refused, by the class of the failure.',
  },
  bmuxd_stream_nothing_there_total: {
    type: 'counter',
    help: 'Requests with `ifRunning` that found no server; they are no refusals.',
  },
  bmuxd_stream_open_duration_seconds: {
    type: 'histogram',
    labels: { transport: TRANSPORTS, warmth: WARMTHS },
    buckets: SECONDS,
    help: 'Time from a request to its open stream, planning included. `warm`: no dial was needed.',
  },
  bmuxd_stream_first_answer_duration_seconds: {
    type: 'histogram',
    labels: { transport: TRANSPORTS, warmth: WARMTHS },
    buckets: SECONDS,
    help: 'Time from a request to the first byte of the server after the Hello. A client that asks late adds its own time.',
  },
  bmuxd_stream_bytes_total: {
    type: 'counter',
    labels: { transport: TRANSPORTS, direction: ['up', 'down'] },
    help: 'Bytes of streams after the Hello, before compression. `up`: from clients to servers.',
  },
  bmuxd_streams_lost_total: {
    type: 'counter',
    labels: { transport: TRANSPORTS },
    help: 'Streams whose clients may not have got everything.',
  },
  bmuxd_streams: {
    type: 'gauge',
    labels: { transport: TRANSPORTS, state: ['opening', 'live', 'ending'] },
    help: 'Streams now.',
  },
  bmuxd_stream_requests_planning: { type: 'gauge', help: 'Requests that have no plan yet.' },
  bmuxd_upstreams: {
    type: 'gauge',
    labels: { transport: TRANSPORTS, state: ['cold', 'connecting', 'warm', 'failing'] },
    help: 'Targets in use.',
  },
  bmuxd_connections: {
    type: 'gauge',
    labels: { transport: TRANSPORTS },
    help: "Connections that bmuxd holds, of its servers' limits of 64.",
  },
  bmuxd_lost_connections: {
    type: 'gauge',
    help: 'Connections of servers that TLS gateways hold until they are restarted, because an engine has crashed.',
  },
  bmuxd_spares: { type: 'gauge', labels: { transport: TRANSPORTS }, help: 'Spares that are ready.' },
  bmuxd_engines: {
    type: 'gauge',
    labels: { state: ['starting', 'serving', 'draining', 'not answering', 'other version'] },
    help: 'Engines of this user, those of an earlier control process included.',
  },
  bmuxd_engine_starts_total: { type: 'counter', help: 'Engines that this control process has started.' },
  bmuxd_engine_restarts_total: {
    type: 'counter',
    help: 'Engines that were started because another one had ended or did not answer.',
  },
  bmuxd_contexts: { type: 'gauge', help: 'Contexts that are served.' },
  bmuxd_event_followers: { type: 'gauge', help: 'Clients that follow `GET /v1/events`.' },
  bmuxd_events_total: {
    type: 'counter',
    labels: { type: EVENTS },
    help: 'Events of `GET /v1/events`, without those that every stream causes.',
  },
  bmuxd_process_cpu_seconds_total: {
    type: 'counter',
    labels: { process: ['control', 'engine'] },
    help: 'CPU time of control, and of all engines together.',
  },
  bmuxd_process_resident_memory_bytes: {
    type: 'gauge',
    labels: { process: ['control', 'engine'] },
    help: 'Resident memory of control, and of all engines together.',
  },
} as const satisfies Readonly<Record<string, MetricRow>>;

export type MetricName = keyof typeof METRICS;
