// What an engine tells of its counts.
import { list, number, object, record, text, type Shape } from '../shape.ts';

/** One value. The name of a histogram has `_bucket`, `_sum` or `_count` behind it, and a bucket the label `le`. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What one engine has counted. */
export interface Tally {
  readonly generation: string;
  /** Grows with each tally of the engine: answers may overtake each other. */
  readonly sequence: number;
  /** They never go down. */
  readonly counters: readonly Sample[];
  readonly gauges: readonly Sample[];
}

const sample: Shape<Sample> = object<Sample>({ name: text, labels: record(text), value: number });

export const isTally: Shape<Tally> = object<Tally>({
  generation: text,
  sequence: number,
  counters: list(sample),
  gauges: list(sample),
});
