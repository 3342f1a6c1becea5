// What all engines tell for the status.
import type { EngineRow, StatusProblem, UpstreamRow } from '../../../api/answers.ts';

export interface Survey {
  readonly engines: readonly EngineRow[];
  readonly upstreams: readonly UpstreamRow[];
  /** What engines report, by the name of the engine. */
  readonly problems: readonly StatusProblem[];
}
