// What the doctor reports: rows of what is right, and findings, each with one remedy.
import type { FailureData } from '../../base/failure.ts';
import type { Env } from '../../base/paths.ts';
import type { ProbeResult, ProbeTask } from '../../engine-protocol/probe.ts';
import { asFailure } from '../../errors/fail.ts';

/** One line of the report. With a `failure` it is a finding. */
export interface ReportRow {
  readonly area: string;
  readonly what: string;
  readonly detail: string;
  /** How long the step took. */
  readonly ms?: number;
  readonly failure?: FailureData;
}

/** What is examined. Tests plant faults here. */
export interface Examined {
  readonly env: Env;
  /** Absolute. */
  readonly cwd: string;
  readonly version: string;
  readonly platform: NodeJS.Platform;
  /** The only target that is tried; missing: all of the config. */
  readonly target?: string | undefined;
  /** Runs a program for a short time. Undefined: it is not there. */
  readonly execute: (command: string, args: readonly string[]) => Promise<string | undefined>;
  /** Tries a target, or only the packages. */
  readonly probe: (task: ProbeTask) => Promise<ProbeResult>;
}

export type Check = (surroundings: Examined) => Promise<readonly ReportRow[]>;

export function finding(area: string, what: string, error: unknown): ReportRow {
  const { data } = asFailure(error);
  return { area, what, detail: data.detail, failure: data };
}

/** The rows of a check. A check that fails is a finding itself. */
export async function checkedRows(
  area: string,
  check: () => Promise<readonly ReportRow[]>,
): Promise<readonly ReportRow[]> {
  try {
    return await check();
  } catch (error) {
    return [finding(area, area, error)];
  }
}
