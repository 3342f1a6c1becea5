// Reads and writes server-meta.json, in which a server describes itself to its clients. Exported as `bmuxd/server-meta` for programs that
// start servers.
import { unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf } from '../base/failure.ts';
import { makeFolder } from '../base/files/make-folder.ts';
import { bmuxPaths, type Env } from '../base/paths.ts';
import { quoted } from '../base/quote.ts';
import { fail } from '../errors/fail.ts';
import { buildIdOf } from './build-id.ts';
import { decodeServerMeta, encodeServerMeta, type ServerMeta } from './meta-format.ts';
import { readBounded } from '../base/files/read-bounded.ts';

export { buildIdOf } from './build-id.ts';
export type { ServerMeta } from './meta-format.ts';
import { writeAtomic } from '../base/files/atomic-file.ts';

/** The only path of `BmuxPaths` that is needed here. */
export interface MetaPath {
  /** `{runtime dir}/server-meta.json`. */
  readonly serverMeta: string;
}

/** The runtime dir of a server: given directly, or found from an environment as bmux does (docs/bmux-protocol.md, "Paths"). */
export type RuntimePlace =
  | { readonly runtimeDir: string; readonly env?: Env }
  | { readonly env: Env; readonly runtimeDir?: never };

/** Input of `writeServerMeta`, which finds the build id and the start time itself. */
export type NewServerMeta = RuntimePlace & {
  /** Process id of the server. */
  readonly pid: number;
  readonly version: string;
  /** Path of the server's executable, as written to the file. */
  readonly executablePath: string;
  /** The active slot; left out when there is none. */
  readonly slotName?: string | undefined;
};

function metaPath(place: RuntimePlace): string {
  return place.runtimeDir === undefined
    ? bmuxPaths(place.env).serverMeta
    : join(place.runtimeDir, 'server-meta.json');
}

/**
 * Reads the file; undefined when there is none. A missing or mistyped field fails with `server_meta_unparsable`. A file that cannot be read
 * fails with `server_meta_unreadable`. Unknown fields are ignored.
 */
export async function readServerMeta(paths: MetaPath): Promise<ServerMeta | undefined> {
  const path = paths.serverMeta;
  let bytes: Buffer;
  try {
    bytes = await readBounded(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw fail('server_meta_unreadable', { path }, error);
  }
  try {
    return decodeServerMeta(bytes);
  } catch (error) {
    throw fail('server_meta_unparsable', { path }, error);
  }
}

/** Like `readServerMeta` for the policies: an unreadable or invalid file counts as missing (docs/bmux-protocol.md, "Server metadata"). Never fails. */
export async function metaForPolicy(paths: MetaPath): Promise<ServerMeta | undefined> {
  try {
    return await readServerMeta(paths);
  } catch {
    return undefined;
  }
}

/**
 * Writes the file for a server that starts, and returns what it wrote. Creates the runtime dir when it is missing.
 * Fails with `server_meta_conflict` when the file already names a live process under another slot, where both slots are known. Otherwise
 * fails with `runtime_dir_uncreatable`, `executable_unreadable` or `server_meta_unwritable`. The file is replaced atomically: a reader sees
 * the old one or the new one. Two servers that start at the same instant may both pass the check; only one of them can then bind the socket.
 */
export async function writeServerMeta(server: NewServerMeta): Promise<ServerMeta> {
  const path = metaPath(server);
  await refuseConflict(path, server.slotName);
  const folder = dirname(path);
  try {
    await makeFolder(folder);
  } catch (error) {
    throw fail('runtime_dir_uncreatable', { path: folder }, error);
  }
  const meta: ServerMeta = {
    pid: server.pid,
    version: server.version,
    buildId: await buildIdOf(server.executablePath),
    executablePath: server.executablePath,
    startedAtEpochMs: Date.now(),
    ...(server.slotName === undefined ? {} : { slotName: server.slotName }),
  };
  try {
    await writeAtomic(path, encodeServerMeta(meta));
  } catch (error) {
    throw fail('server_meta_unwritable', { path }, error);
  }
  return meta;
}

/** Removes the file; a missing file is no error. Fails with `server_meta_unremovable`. */
export async function removeServerMeta(place: RuntimePlace): Promise<void> {
  const path = metaPath(place);
  try {
    await unlink(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw fail('server_meta_unremovable', { path }, error);
  }
}

async function refuseConflict(path: string, slot: string | undefined): Promise<void> {
  if (slot === undefined) return;
  const existing = await metaForPolicy({ serverMeta: path });
  const other = existing?.slotName;
  if (existing === undefined || other === undefined || other === slot || !isAlive(existing.pid)) return;
  throw fail('server_meta_conflict', {
    client: quoted(slot),
    pid: existing.pid,
    serverQuoted: quoted(other),
    server: other,
  });
}

/** True when a process has this id, even if we may not signal it. */
function isAlive(pid: number): boolean {
  // 0 would mean our own process group, and above 2^31 the id would wrap round to one.
  if (pid < 1 || pid > 0x7fff_ffff) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) === 'EPERM';
  }
}
