// The status as text. On a narrow terminal less important columns are left out.
import type { FailureData } from '../../base/failure.ts';
import { causesToShow, remedyWithCode } from '../../errors/text.ts';
import type { Status, StreamRow } from '../../api/answers.ts';
import { fail } from '../../errors/fail.ts';
import { packageVersion } from '../../base/version.ts';
import { versionIsSaid, versionsDiffer } from '../daemon-version.ts';
import { hanging } from '../help/columns.ts';
import { ago, bytes, shortened, table, type Column } from '../table.ts';
import { headOf, statusText, upstreamTable } from './tables.ts';

export function rendered(answer: Status, room: number): string {
  return statusText(answer, room, [...problemsOf(answer), ...lostIn(answer)]);
}

/** What `bmuxd status --watch` shows: targets and streams. `rates`: bytes a second of each stream, by id. */
export function renderedLive(
  status: Status,
  streams: readonly StreamRow[],
  rates: ReadonlyMap<string, Rate>,
  room: number,
): string[] {
  const head = [...headOf(status), ...problemsOf(status), ...lostIn(status)];
  const busiest = [...streams].sort((left, right) => sumOf(rates, right) - sumOf(rates, left));
  return [
    ...head.flatMap((text) => text.split('\n')).flatMap((line) => hanging(line, room)),
    '',
    ...(status.upstreams.length === 0 ? ['no targets in use'] : upstreamTable(status.upstreams, room)),
    '',
    ...(streams.length === 0 ? ['no streams'] : streamTable(busiest, rates, room)),
  ];
}

export interface Rate {
  readonly up: number;
  readonly down: number;
}

function sumOf(rates: ReadonlyMap<string, Rate>, { id }: StreamRow): number {
  const { up, down } = rates.get(id) ?? { up: 0, down: 0 };
  return up + down;
}

function problemsOf({ version, problems }: Status): string[] {
  const isOther = version !== packageVersion();
  // A daemon whose files were replaced says so itself.
  const isDue = problems.some(({ failure }) => failure.code === 'restart_due');
  if (isOther) versionIsSaid();
  const lines = isOther && !isDue ? ['', `! ${versionsDiffer(version)}`] : [];
  for (const { where, failure } of problems) {
    lines.push('', `! ${problemLine(where, failure)}`);
    for (const cause of causesToShow(failure)) lines.push(`    ${cause}`);
    lines.push(`  ${remedyWithCode(failure)}`);
  }
  return lines;
}

/** Where a problem is, and what it is. A text about a file begins with the file. */
export function problemLine(where: string, { detail }: Pick<FailureData, 'detail'>): string {
  return detail.startsWith(where) ? detail : `${where}: ${detail}`;
}

/** What engines that have crashed have lost at gateways. */
function lostIn({ lostConnections = [] }: Status): string[] {
  return lostConnections.flatMap(({ target, count }) => {
    const { data } = fail('connections_lost', { target: shortened(target), count });
    return ['', `! ${data.detail}`, `  ${remedyWithCode(data)}`];
  });
}

function streamTable(
  streams: readonly StreamRow[],
  rates: ReadonlyMap<string, Rate>,
  room: number,
): string[] {
  const columns: readonly Column[] = [
    'STREAM',
    'TARGET',
    { name: 'STATE', drops: 3 },
    { name: 'CLIENT', drops: 2 },
    { name: 'AGE', drops: 1 },
    { name: 'UP/s', drops: 6 },
    { name: 'DOWN/s', drops: 7 },
    { name: 'UP', drops: 4 },
    { name: 'DOWN', drops: 5 },
  ];
  const rows = streams.map((row) => {
    const rate = rates.get(row.id);
    return [
      row.id,
      shortened(row.target),
      row.waiting === undefined ? row.state : `${row.waiting.step} ${ago(row.waiting.sinceMs)}`,
      shortened(row.clientName),
      ago(row.sinceMs),
      rate === undefined ? '-' : bytes(Math.round(rate.up)),
      rate === undefined ? '-' : bytes(Math.round(rate.down)),
      bytes(row.bytesUp),
      bytes(row.bytesDown),
    ];
  });
  return table(columns, rows, room);
}
