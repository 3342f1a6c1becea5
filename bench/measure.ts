// The types of measures and their results, and the class that runs them.
import { textOf } from '../daemon/base/failure.ts';
import { compare, type Compared } from './statistics.ts';

export type Unit = 'ms' | 'ms per s' | 'µs' | 'MB/s' | 'MB' | 'KB' | 'per s' | 'round trips' | 'streams';

/** One side of a comparison. */
export interface Side {
  readonly name: string;
  readonly values: readonly number[];
}

export interface Goal {
  readonly text: string;
  met(compared: Compared): boolean;
}

/** One line of the result: a subject and the peer that it was measured in turns with. */
export interface Figure {
  readonly what: string;
  readonly unit: Unit;
  readonly ours: Side;
  readonly peer: Side;
  readonly goal?: Goal;
}

export interface MeasuredFigure extends Omit<Figure, 'goal'> {
  readonly measure: string;
  readonly compared: Compared;
  readonly goal?: { readonly text: string; readonly met: boolean };
}

/** Something that could not be measured, and why: a peer is not installed, a feature is missing, or it failed. */
export interface Gap {
  readonly measure: string;
  readonly what: string;
  readonly kind: 'skipped' | 'not there yet' | 'failed';
  readonly why: string;
}

/** Thrown by a measure, or a part of one, that cannot run here. */
export class Skip extends Error {
  readonly kind: 'skipped' | 'not there yet';

  constructor(why: string, kind: 'skipped' | 'not there yet' = 'skipped') {
    super(why);
    this.kind = kind;
  }
}

/** Thrown when the daemon lacks the feature to be measured. */
export function notYet(feature: string): Skip {
  return new Skip(feature, 'not there yet');
}

export interface Measure {
  readonly name: string;
  /** One sentence for `--list`. */
  readonly about: string;
  readonly run: (bench: Bench) => Promise<void>;
}

/** Something that is timed or counted once per turn. */
export interface Subject {
  readonly name: string;
  readonly once: () => Promise<number>;
}

export interface BenchOptions {
  readonly measure: string;
  readonly quick: boolean;
  /** Replaces every count of runs. */
  readonly runs: number | undefined;
  readonly say: (text: string) => void;
}

/** Passed to a measure. Everything that the measure starts is given to `own`, and stopped after the measure or its part. */
export class Bench {
  readonly figures: MeasuredFigure[] = [];
  readonly gaps: Gap[] = [];
  readonly quick: boolean;
  readonly #options: BenchOptions;
  #owned: { readonly name: string; readonly end: () => Promise<unknown> }[] = [];

  constructor(options: BenchOptions) {
    this.#options = options;
    this.quick = options.quick;
  }

  /** How often something is measured. */
  count(full: number, quick: number): number {
    return this.#options.runs ?? (this.quick ? quick : full);
  }

  /** An amount of work other than runs: bytes, requests, streams. */
  amount(full: number, quick: number): number {
    return this.quick ? quick : full;
  }

  say(text: string): void {
    this.#options.say(text);
  }

  own<T extends { stop(): Promise<unknown> }>(name: string, thing: T): T {
    this.#owned.push({ name, end: () => thing.stop() });
    return thing;
  }

  figure(figure: Figure): MeasuredFigure {
    const { goal, ...rest } = figure;
    const compared = compare(figure.ours.values, figure.peer.values);
    const measured: MeasuredFigure = {
      ...rest,
      measure: this.#options.measure,
      compared,
      ...(goal === undefined ? {} : { goal: { text: goal.text, met: goal.met(compared) } }),
    };
    this.figures.push(measured);
    return measured;
  }

  gap(what: string, kind: Gap['kind'], why: string): void {
    this.gaps.push({ measure: this.#options.measure, what, kind, why });
    this.say(`${what}: ${kind}: ${why}`);
  }

  /** Runs one part of a measure with its own resources. If it throws, that becomes a gap, and the next part runs. */
  async part(what: string, work: () => Promise<void>): Promise<void> {
    const outer = this.#owned;
    this.#owned = [];
    this.say(what);
    try {
      await work();
    } catch (error) {
      if (error instanceof Skip) this.gap(what, error.kind, error.message);
      else this.gap(what, 'failed', textOf(error));
    } finally {
      await this.#endAll(what);
      this.#owned = outer;
    }
  }

  async #endAll(what: string): Promise<void> {
    for (const { name, end } of this.#owned.reverse()) {
      await end().catch((error: unknown) => {
        this.gap(`${what}: end of ${name}`, 'failed', textOf(error));
      });
    }
  }

  /**
   * Measures the subjects in turns (A B A B …), once unrecorded when `warmUp`, then `runs` times. Returns their sides by name.
   * A subject that is not possible is left out of the list.
   */
  async inTurns(runs: number, subjects: readonly Subject[], warmUp = true): Promise<Map<string, Side>> {
    const values = new Map<string, number[]>(subjects.map(({ name }) => [name, []]));
    for (let turn = warmUp ? -1 : 0; turn < runs; turn += 1) {
      for (const { name, once } of subjects) {
        const value = await once();
        if (turn >= 0) values.get(name)?.push(value);
      }
      if (turn >= 0 && (turn + 1) % Math.max(1, Math.ceil(runs / 4)) === 0)
        this.say(`  ${String(turn + 1)} of ${String(runs)} turns`);
    }
    return new Map([...values].map(([name, list]) => [name, { name, values: list }]));
  }

  /** `inTurns`, then one figure per peer: the first subject is ours. */
  async compare(
    what: string,
    unit: Unit,
    runs: number,
    subjects: readonly [Subject, ...Subject[]],
    options: { readonly goals?: Readonly<Record<string, Goal>>; readonly warmUp?: boolean } = {},
  ): Promise<void> {
    const sides = await this.inTurns(runs, subjects, options.warmUp);
    const [first, ...peers] = subjects;
    const ours = sides.get(first.name);
    for (const { name } of peers) {
      const peer = sides.get(name);
      const goal = options.goals?.[name];
      if (ours !== undefined && peer !== undefined)
        this.figure({ what, unit, ours, peer, ...(goal === undefined ? {} : { goal }) });
    }
  }
}

/** Milliseconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
