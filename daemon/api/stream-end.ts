// Reads what is known of a stream's end: an engine's answer, and the file that an engine leaves when it exits.
import { SCHEMA, type EndList, type EndRow, type StreamEnd } from './answers.ts';
import { exactly, list, number, object, optional, text, truth, word, type Shape } from './shape.ts';

export const isStreamEnd: Shape<StreamEnd> = object<StreamEnd>({
  schema: exactly(SCHEMA),
  known: optional(truth),
  lost: optional(text),
});

const isEndRow = object<EndRow>({
  id: text,
  target: text,
  transport: word(),
  clientPid: optional(number),
  atMs: number,
  lost: optional(text),
  by: word(),
});

export const isEndList: Shape<EndList> = object<EndList>({
  schema: exactly(SCHEMA),
  ends: list(isEndRow),
  live: number,
});

const keptRows = object<{ rows: readonly EndRow[] }>({ rows: list(isEndRow) });

/** The rows in the text of a `.ends` file; none in that of an older engine. */
export function keptRowsIn(file: string): readonly EndRow[] {
  try {
    const kept: unknown = JSON.parse(file);
    return keptRows(kept) ? kept.rows : [];
  } catch {
    return [];
  }
}

/** The end of the stream in the text of a `.ends` file (`KeptEnds`). */
export function keptEnd(file: string, id: string): StreamEnd {
  const lost = endsIn(file).get(id);
  if (lost === null) return { schema: SCHEMA, known: true };
  return typeof lost === 'string' ? { schema: SCHEMA, known: true, lost } : { schema: SCHEMA, known: false };
}

function endsIn(file: string): ReadonlyMap<string, unknown> {
  try {
    const kept: unknown = JSON.parse(file);
    const ends = typeof kept === 'object' && kept !== null && 'ends' in kept ? kept.ends : undefined;
    return new Map(typeof ends === 'object' && ends !== null ? Object.entries(ends) : []);
  } catch {
    return new Map();
  }
}
