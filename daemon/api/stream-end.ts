// How a stream ended, and how that is read: an engine's answer, and the file that an engine leaves when it exits.
import { SCHEMA, type StreamEnd, type Transport } from './answers.ts';
import type { ProcessIdentity } from '../base/process/identity.ts';
import { isIdentity } from './instance-file.ts';
import { exactly, list, number, object, optional, text, truth, word, type Shape } from './shape.ts';

/** Begins `lost` where the transport broke; the system's reason follows. */
export const SERVER_LOST = 'the connection to its server was lost: ';

/** One row of `GET /v1/ends` on an engine's own socket: a stream that is over, or that was refused. */
export interface EndRow {
  readonly id: string;
  /** As in `StreamInfo`. */
  readonly target: string;
  readonly transport: Transport;
  /** Process that has connected; missing where the system does not tell. */
  readonly clientPid?: number;
  /** ms since 1970. */
  readonly atMs: number;
  /** Why the client cannot rely on having everything, or why it got no stream; missing after a proper end. */
  readonly lost?: string;
  /** Who has ended it first. `person`: it was ended by its id. */
  readonly by: 'client' | 'server' | 'person';
}

export interface EndList {
  readonly schema: typeof SCHEMA;
  /** The oldest first. */
  readonly ends: readonly EndRow[];
  /** Streams that are not over: of the client that was asked for, else all. */
  readonly live: number;
  /** The engine itself. An older one does not tell. */
  readonly process?: ProcessIdentity;
}

/** `engines/GENERATION.ends`: how the last streams of an engine that has exited ended. */
export interface KeptEnds {
  readonly schema: typeof SCHEMA;
  /** By stream id; null after a proper end. */
  readonly ends: Readonly<Record<string, string | null>>;
  /** The same ends as in `GET /v1/ends`. An older engine does not leave them. */
  readonly rows?: readonly EndRow[];
}

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
  process: optional(isIdentity),
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
