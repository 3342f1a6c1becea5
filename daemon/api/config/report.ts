// The answer of `GET /v1/config`: what is in force, and where it comes from.
import type { FailureData } from '../../base/failure.ts';
import { isFailure } from '../answer-shapes.ts';
import { SCHEMA } from '../answers.ts';
import { anything, exactly, list, object, optional, text, type Shape } from '../shape.ts';

/** A value in force. `origin`: `FILE:LINE`, `default`, or `command line`. */
export interface ConfigRow {
  readonly key: string;
  readonly value: unknown;
  readonly origin: string;
}

/** `GET /v1/config`: what is in force, without credentials. */
export interface ConfigReport {
  readonly schema: typeof SCHEMA;
  /** bmuxd.toml. */
  readonly settings: {
    readonly file: string;
    readonly values: readonly ConfigRow[];
    readonly problem?: FailureData;
  };
  /** The config of bmux in one context: only the values that a file sets. */
  readonly context: {
    readonly runtimeDir: string;
    readonly slot?: string;
    /** Every file that was looked for, whether it exists or not. */
    readonly files: readonly string[];
    readonly values: readonly ConfigRow[];
    readonly warnings: readonly string[];
  };
}

export const isConfigRow: Shape<ConfigRow> = object<ConfigRow>({ key: text, value: anything, origin: text });

export const isConfigReport: Shape<ConfigReport> = object<ConfigReport>({
  schema: exactly(SCHEMA),
  settings: object<ConfigReport['settings']>({
    file: text,
    values: list(isConfigRow),
    problem: optional(isFailure),
  }),
  context: object<ConfigReport['context']>({
    runtimeDir: text,
    slot: optional(text),
    files: list(text),
    values: list(isConfigRow),
    warnings: list(text),
  }),
});
