// The JSON of server-meta.json: writes the same bytes as the real server, and reads as strictly as it does (docs/bmux-protocol.md, "Server metadata").
import { strictUtf8 } from '../base/files/read-bounded.ts';

/** The content of `server-meta.json`, in which a running server describes itself. */
export interface ServerMeta {
  /** Process id, u32. */
  readonly pid: number;
  /** Version of the program, `0.0.1-alpha.4`. */
  readonly version: string;
  /** `{size}-{mtime ms}` of the executable: see `buildIdOf`. */
  readonly buildId: string;
  readonly executablePath: string;
  /** ms since the epoch, u64 in the file; above 2^53 the number here is rounded. */
  readonly startedAtEpochMs: number;
  /** The slot it runs under; absent where it has none. */
  readonly slotName?: string;
}

const U32_MAX = 0xffff_ffffn;
const U64_MAX = 0xffff_ffff_ffff_ffffn;

/** The file's text: two spaces, no newline at the end, `slot_name` left out when there is none. */
export function encodeServerMeta(meta: ServerMeta): string {
  const fields = {
    pid: meta.pid,
    version: meta.version,
    build_id: meta.buildId,
    executable_path: meta.executablePath,
    started_at_epoch_ms: meta.startedAtEpochMs,
    ...(meta.slotName === undefined ? {} : { slot_name: meta.slotName }),
  };
  return JSON.stringify(fields, null, 2);
}

/** Parses the file's bytes. Throws an Error that names a field that is missing or of another type. */
export function decodeServerMeta(bytes: Uint8Array): ServerMeta {
  const text = strictUtf8(bytes);
  JSON.parse(text);
  const fields: unknown = JSON.parse(withNumbersAsText(text));
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields))
    throw new Error('not an object');
  const values = new Map<string, unknown>(Object.entries(fields));
  const slot = values.get('slot_name') ?? undefined;
  return {
    pid: integer(values, 'pid', U32_MAX),
    version: string(values, 'version'),
    buildId: string(values, 'build_id'),
    executablePath: string(values, 'executable_path'),
    startedAtEpochMs: integer(values, 'started_at_epoch_ms', U64_MAX),
    ...(slot === undefined ? {} : { slotName: string(values, 'slot_name') }),
  };
}

/** Prefix of a number that was converted to a string. Strings get the other prefix, so that the two cannot be confused. */
const NUMBER = '#';
const STRING = '"';

/**
 * Converts every number of valid JSON to a marked string. A JavaScript number cannot distinguish 1 from 1.0, or the largest u64 from its
 * successor. The server's reader refuses the second of each pair.
 */
function withNumbersAsText(json: string): string {
  return json.replace(
    /"((?:[^"\\]|\\.)*)"(\s*:)?|-?\d[\d.eE+-]*/gs,
    (token, inside?: string, colon?: string) => {
      if (inside === undefined) return `"${NUMBER}${token}"`;
      return colon === undefined ? `"\\${STRING}${inside}"` : token;
    },
  );
}

function string(values: ReadonlyMap<string, unknown>, name: string): string {
  const value = values.get(name);
  if (typeof value !== 'string' || !value.startsWith(STRING)) throw new Error(`${name} is not a string`);
  return value.slice(1);
}

function integer(values: ReadonlyMap<string, unknown>, name: string, max: bigint): number {
  const value = values.get(name);
  if (typeof value !== 'string' || !/^#\d+$/.test(value) || BigInt(value.slice(1)) > max) {
    throw new Error(`${name} is not an integer from 0 to ${String(max)}`);
  }
  return Number(value.slice(1));
}
