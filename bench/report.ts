// The result of a run: a table for a terminal, the same as markdown for RESULTS.md, and a description of the machine.
import { cpus, totalmem } from 'node:os';
import type { Gap, MeasuredFigure, Unit } from './measure.ts';
import type { Summary } from './statistics.ts';

export interface Machine {
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly platform: string;
  readonly node: string;
}

export interface Result {
  readonly schema: 1;
  readonly machine: Machine;
  readonly quick: boolean;
  readonly figures: readonly MeasuredFigure[];
  readonly gaps: readonly Gap[];
}

/** This machine, without its name. */
export function machine(): Machine {
  const all = cpus();
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: (all[0]?.model ?? 'unknown').trim(),
    cores: all.length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
  };
}

const HEADINGS = ['measure', 'what', 'unit', 'ours', 'against', 'peer', 'ratio', 'added', 'runs', 'goal'];

/** Three significant digits. */
function digits(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  const connections = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return value.toFixed(connections);
}

function spread({ median, p10, p90, runs }: Summary): string {
  return runs < 2 ? digits(median) : `${digits(median)} (${digits(p10)}..${digits(p90)})`;
}

/** Differences are shown for times and sizes; for rates only the ratio is useful. */
function addedOf(unit: Unit, added: Summary): string {
  return unit === 'MB/s' || unit === 'per s' ? '' : spread(added);
}

function cells({ measure, what, unit, ours, peer, compared, goal }: MeasuredFigure): string[] {
  const met = goal === undefined ? '' : `${goal.text}: ${goal.met ? 'met' : 'NOT met'}`;
  return [
    measure, what, unit, `${ours.name} ${spread(compared.ours)}`, peer.name, spread(compared.peer),
    spread(compared.ratio), addedOf(unit, compared.added), String(Math.min(compared.ours.runs, compared.peer.runs)), met,
  ]; // oxfmt-ignore
}

const gapLine = ({ measure, what, kind, why }: Gap): string => `${measure}: ${what}: ${kind}: ${why}`;

/** Columns for a terminal. */
export function table({ figures, gaps }: Result): string {
  const rows = [HEADINGS, ...figures.map(cells)];
  const widths = HEADINGS.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
  return [...lines.map((line) => line.trimEnd()), '', ...gaps.map(gapLine)].join('\n');
}

/** Markdown for RESULTS.md. */
export function markdown({ machine: on, quick, figures, gaps }: Result): string {
  const row = (row: readonly string[]): string =>
    `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [
    '# Results',
    '',
    `${on.date}, ${on.cpu}, ${String(on.cores)} cores, ${String(on.memoryGb)} GB, ${on.platform}, Node ${on.node}${quick ? ', quick run: the counts are small' : ''}.`,
    'Median (p10..p90) of the runs; ratio and added are of values measured in turns. What each line means: [README.md](README.md).',
    '',
    row(HEADINGS),
    row(HEADINGS.map(() => '---')),
    ...figures.map((figure) => row(cells(figure))),
    '',
    ...(gaps.length === 0 ? [] : ['Not measured:', '', ...gaps.map((gap) => `- ${gapLine(gap)}`), '']),
  ].join('\n');
}
