// The rows of engines of which little is known: they did not answer, or answer in the form of another version.
import type { EngineRow } from '../../../api/answers.ts';
import { number, object, text } from '../../../api/shape.ts';

export const NOTHING_KNOWN: Omit<EngineRow, 'generation'> = {
  pid: 0,
  version: '',
  sinceMs: 0,
  state: 'not answering',
  streams: 0,
};

const hasPid = object({ engine: object({ pid: number }) });
const hasVersion = object({ engine: object({ version: text }) });

/** A row with those fields of an answer in another form that can be read. */
export function foreignRow(generation: string, status: unknown): EngineRow {
  return {
    ...NOTHING_KNOWN,
    generation,
    state: 'other version',
    ...(hasPid(status) ? { pid: status.engine.pid } : {}),
    ...(hasVersion(status) ? { version: status.engine.version } : {}),
  };
}
