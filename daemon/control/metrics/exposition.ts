// Prints samples in the text format of Prometheus 0.0.4. Only the metrics and labels of the table are printed.
import { METRICS, type MetricRow } from '../../api/metrics/table.ts';
import type { Sample } from '../../api/metrics/tally.ts';
import { summed } from './tallies.ts';

export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

const ROWS: readonly (readonly [string, MetricRow])[] = Object.entries(METRICS);

/** All metrics of the table. A value of the table that no sample has is 0, except for the buckets of a histogram. */
export function exposition(samples: readonly Sample[]): string {
  const byName = new Map<string, Sample[]>();
  for (const sample of summed(samples)) {
    const sameName = byName.get(sample.name) ?? [];
    byName.set(sample.name, [...sameName, sample]);
  }
  return ROWS.map(([name, row]) => {
    const suffixes = row.type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
    const known = suffixes.flatMap((suffix) => byName.get(`${name}${suffix}`) ?? []);
    const valid = known.filter((sample) => fits(row, sample));
    const values = row.type === 'histogram' ? valid : summed([...zeros(name, row), ...valid]);
    const lines = values.map((sample) => `${sample.name}${labelsOf(sample)} ${numberOf(sample.value)}\n`);
    return `# HELP ${name} ${escaped(row.help)}\n# TYPE ${name} ${row.type}\n${lines.join('')}`;
  }).join('');
}

/** An engine of a later version may have labels and values that this table does not bound. */
function fits({ labels = {}, type }: MetricRow, { labels: given, name }: Sample): boolean {
  const isBucket = type === 'histogram' && name.endsWith('_bucket');
  const wanted = Object.keys(labels).length + (isBucket ? 1 : 0);
  return (
    Object.keys(given).length === wanted &&
    Object.entries(labels).every(([label, values]) => {
      const value = given[label];
      return value !== undefined && (values?.includes(value) ?? true);
    })
  );
}

/** A sample with the value 0 for each combination of labels; none where a label has any value. */
function zeros(name: string, { labels = {} }: MetricRow): Sample[] {
  let combinations: Record<string, string>[] = [{}];
  for (const [label, values = []] of Object.entries(labels))
    combinations = combinations.flatMap((one) => values.map((value) => ({ ...one, [label]: value })));
  return combinations.map((combination) => ({ name, labels: combination, value: 0 }));
}

function labelsOf({ labels }: Sample): string {
  const pairs = Object.entries(labels).map(
    ([label, value]) => `${label}="${escaped(value).replaceAll('"', '\\"')}"`,
  );
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function numberOf(value: number): string {
  return Number.isFinite(value) ? String(value) : 'NaN';
}
