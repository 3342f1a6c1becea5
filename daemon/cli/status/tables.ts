// The tables of the status, without what is wrong. Where nothing is wrong they are all that `bmuxd status` shows, and they are made before the
// rest of the program is loaded: this file imports little.
import type { EngineRow, Status, UpstreamRow } from '../../api/answers.ts';
import { hanging } from '../help/columns.ts';
import { ago, shortened, table, type Column } from '../table.ts';

/** The whole text. `between`: lines about what is wrong. */
export function statusText(status: Status, room: number, between: readonly string[] = []): string {
  const tables = [engineTable(status.engines, room), upstreamTable(status.upstreams, room)];
  const head = [...headOf(status), `socket ${status.socket}`, ...between];
  const lines = [
    ...head.flatMap((text) => text.split('\n')).flatMap((line) => hanging(line, room)),
    ...tables.flatMap((rows) => (rows.length === 0 ? [] : ['', ...rows])),
  ];
  return `${lines.join('\n')}\n`;
}

export function headOf({ version, state, pid, sinceMs, streams }: Status): string[] {
  const count = `${String(streams)} live stream${streams === 1 ? '' : 's'}`;
  return [`bmuxd ${version}: ${state}  pid ${String(pid)}, up ${ago(sinceMs)}, ${count}`];
}

const ENGINE_COLUMNS: readonly Column[] = [
  'ENGINE',
  { name: 'PID', drops: 1 },
  'STATE',
  { name: 'STREAMS', drops: 3 },
  { name: 'UP', drops: 2 },
];

function engineTable(engines: readonly EngineRow[], room: number): string[] {
  if (engines.length === 0) return [];
  const rows = engines.map((engine) => [
    engine.generation,
    engine.pid === 0 ? '-' : String(engine.pid),
    engine.state,
    String(engine.streams),
    engine.sinceMs === 0 ? '-' : ago(engine.sinceMs),
  ]);
  return table(ENGINE_COLUMNS, rows, room);
}

const UPSTREAM_COLUMNS: readonly Column[] = [
  'TARGET',
  { name: 'TRANSPORT', drops: 5 },
  { name: 'EPOCH', drops: 2 },
  { name: 'COMPRESSION', drops: 1 },
  'STATE',
  { name: 'ROUND TRIP', drops: 8, late: true },
  { name: 'AGE', drops: 4 },
  { name: 'SPARES', drops: 6 },
  { name: 'CONNECTIONS', drops: 3 },
  { name: 'STREAMS', drops: 7, late: true },
  { name: 'LAST ERROR', drops: 9, late: true },
];

export function upstreamTable(upstreams: readonly UpstreamRow[], room: number): string[] {
  if (upstreams.length === 0) return [];
  const rows = upstreams.map((row) => [
    shortened(row.target),
    row.transport,
    String(row.epoch ?? '-'),
    row.compression ?? '-',
    row.failingSinceMs === undefined ? row.state : `failing ${ago(row.failingSinceMs)}`,
    row.roundTripMs === undefined ? '-' : `${String(row.roundTripMs)} ms`,
    row.warmSinceMs === undefined ? '-' : ago(row.warmSinceMs),
    String(row.spares),
    String(row.connections),
    String(row.streams),
    row.lastError === undefined
      ? '-'
      : `${row.lastError.class}: ${row.lastError.code} (${ago(row.lastError.atMs)} ago)`,
  ]);
  return table(UPSTREAM_COLUMNS, rows, room);
}
