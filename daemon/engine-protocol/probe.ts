// The messages between `bmuxd doctor` and its probe: a process of its own that loads the native packages and tries a target step by step.
import type { FailureData } from '../base/failure.ts';
import type { Settings } from '../config/settings/table.ts';
import type { Plan } from './plan.ts';

/** What the probe shall try. Without a plan, it says only whether the packages load. */
export interface ProbeTask {
  readonly plan?: Plan;
  readonly settings: Settings;
}

/** One step that has been taken. */
export interface ProbeStep {
  /**
   * `dns`, `tcp`, `tls`, `connect`, `hello`, `round trip`; over SSH also `config`, `host key`, `auth`, `bmux`; to an iroh host `relay`,
   * `host`, `path`, `auth`.
   */
  readonly step: string;
  readonly ms: number;
  readonly detail: string;
}

export interface ProbeResult {
  /** Native packages that do not load. */
  readonly packages: readonly FailureData[];
  readonly steps: readonly ProbeStep[];
  /** Why no further step was taken. */
  readonly failure?: FailureData;
}
