// The state of the session snapshot that an epoch 3 server reports in ServerStatus (docs/bmux-protocol.md, "Server snapshot").
import type { Reader, Writer } from './codec.ts';

/** Times in ms since 1970. */
export interface Snapshot {
  readonly enabled: boolean;
  readonly path?: string;
  readonly exists: boolean;
  readonly lastWriteMs?: bigint;
  readonly lastRestoreMs?: bigint;
  readonly lastRestoreError?: string;
}

export const NO_SNAPSHOT: Snapshot = { enabled: false, exists: false };

export function writeSnapshot(writer: Writer, snapshot: Snapshot): void {
  writer.bool(snapshot.enabled).option(snapshot.path, (path) => writer.string(path));
  writer.bool(snapshot.exists);
  writer.option(snapshot.lastWriteMs, (ms) => writer.varint(ms));
  writer.option(snapshot.lastRestoreMs, (ms) => writer.varint(ms));
  writer.option(snapshot.lastRestoreError, (text) => writer.string(text));
}

export function readSnapshot(reader: Reader): Snapshot {
  const enabled = reader.bool();
  const path = reader.option(() => reader.string());
  const exists = reader.bool();
  const lastWriteMs = reader.option(() => reader.varint());
  const lastRestoreMs = reader.option(() => reader.varint());
  const lastRestoreError = reader.option(() => reader.string());
  return {
    enabled,
    exists,
    ...(path === undefined ? {} : { path }),
    ...(lastWriteMs === undefined ? {} : { lastWriteMs }),
    ...(lastRestoreMs === undefined ? {} : { lastRestoreMs }),
    ...(lastRestoreError === undefined ? {} : { lastRestoreError }),
  };
}
