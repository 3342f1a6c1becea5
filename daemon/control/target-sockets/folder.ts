// The folder of a target socket. Its mode is 0500, so that nothing can be bound or unlinked in it. It is reached through a symlink, which
// is replaced in one step (docs/decisions/target-socket-folders.md). The symlink stays when the folder is removed. A bmux in a shell that
// still has the path then fails with EEXIST, also for root. Without the symlink it would make the folder and start its own server in it.
import { createHash, randomBytes } from 'node:crypto';
import { readlinkSync, unlinkSync } from 'node:fs';
import { chmod, lstat, mkdir, readdir, rename, rm, rmdir, stat, symlink, unlink } from 'node:fs/promises';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
import { errnoOf } from '../../base/failure.ts';
import { makeFolder } from '../../base/files/make-folder.ts';
import { withoutCredentials } from '../../base/redact.ts';
import { maxSocketPath } from '../../base/files/socket-path.ts';
import { isListening, leadsTo } from '../../sockets/bind.ts';
import { refuseInsecure } from '../../api/socket-path.ts';
import { fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';

/** Name of the socket for which bmux looks in its runtime dir (docs/bmux-protocol.md, "Paths"). */
const SOCKET = 'server.sock';
/** Target names that are used as folder names unchanged. No capitals, because the file system of macOS may ignore case. */
const SAFE = /^[a-z0-9_][a-z0-9._-]*$/;
/**
 * Internal names, which no target's folder has. n: a folder before an engine listens in it; d: while it does; g: before it is removed.
 * l: a new symlink.
 */
const OURS = /^\.[ndlg][0-9a-f]{6}$/;
/** A folder or link without a listener that is younger than this, ms, may be one that another daemon is just making. */
const YOUNG_MS = 10_000;
/** Dangling links that are kept in one folder of target sockets. Beyond that the oldest are removed. */
const MAX_DEAD_LINKS = 256;

/** One target socket in the file system. */
export interface TargetSocketFolder {
  /** The symlink, to which BMUX_RUNTIME_DIR is set. */
  readonly runtimeDir: string;
  readonly socketPath: string;
  /** True while the path leads to the socket made here. Root can replace it in spite of the mode. */
  isOurs(): Promise<boolean>;
  /**
   * Removes the folder; the symlink dangles then, unless another process has replaced it. The caller closes the socket. Safe to call twice.
   * When another process has a server or files in the folder it is kept, and the promise resolves with its path.
   */
  remove(): Promise<string | undefined>;
  /** New path of a folder that another process had made at the path, if it was kept. */
  readonly setAside: string | undefined;
}

const hashed = (name: string): string => createHash('sha256').update(name).digest('hex').slice(0, 10);

/** The folder name for a target's name: the name itself if it is safe and short, else its beginning and a hash. Throws `socket_path_too_long`. */
export function folderName(parent: string, name: string, limit: number = maxSocketPath()): string {
  const room = limit - Buffer.byteLength(join(parent, 'x', SOCKET)) + 1;
  if (SAFE.test(name) && Buffer.byteLength(name) <= room) return name;
  const start = withoutCredentials(name)
    .replace(/^[a-z]+:\/\//, '')
    .replace(/[^A-Za-z0-9_-]+/g, '-')
    .replace(/^-+/, '');
  const short = `${start.slice(0, Math.max(0, Math.min(24, room - 11)))}-${hashed(name)}`.replace(/^-/, 'x');
  return checked(parent, short, limit);
}

function checked(parent: string, folder: string, limit: number): string {
  const path = join(parent, folder, SOCKET);
  const length = Buffer.byteLength(path);
  if (length > limit) throw fail('socket_path_too_long', { path, length, limit });
  return folder;
}

/**
 * Makes `{parent}/{folder name}/server.sock` lead to a new socket, by replacing the symlink in one step. After a failure nothing is left.
 * `listen` binds the server to a path, and resolves when a process accepts there. `isOurs`: false when another daemon has taken over
 * meanwhile; the path leads to a socket of that one, and the promise rejects with `stopping`.
 */
export async function makeTargetSocketFolder(
  parent: string,
  name: string,
  server: Server,
  listen: (server: Server, path: string) => Promise<void> = listenHere,
  isOurs: () => Promise<boolean> = () => Promise.resolve(true),
): Promise<TargetSocketFolder> {
  const link = join(parent, folderName(parent, name));
  const nonce = randomBytes(3).toString('hex');
  // The folder is renamed after the bind. A closed server of Node unlinks the path that it has bound, even if another socket is there then.
  const bound = join(parent, checked(parent, `.n${nonce}`, maxSocketPath()));
  const target = `.d${nonce}`;
  const folder = join(parent, target);
  const fresh = join(parent, `.l${nonce}`);
  await makeFolder(parent);
  refuseInsecure(parent);
  await mkdir(bound, { mode: 0o700 });
  try {
    await listen(server, join(bound, SOCKET));
    const { ino, dev } = await lstat(join(bound, SOCKET), { bigint: true });
    await rename(bound, folder);
    await chmod(folder, 0o500);
    await symlink(target, fresh);
    if (!(await isOurs())) throw fail('stopping');
    const setAside = await replaceLink(fresh, link);
    return {
      runtimeDir: link,
      setAside,
      socketPath: join(link, SOCKET),
      isOurs: () => Promise.resolve(leadsTo(join(link, SOCKET), { ino, dev })),
      remove: async () => {
        const going = await moveAside(folder);
        return going === undefined ? undefined : removeUnlessUsed(going, ino);
      },
    };
  } catch (error) {
    server.close();
    await unlink(fresh).catch(() => undefined);
    await removeFolder(bound);
    await removeFolder(folder);
    throw error;
  }
}

function listenHere(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/**
 * Moves the new link to its path. A rename replaces a link but not a folder, so a folder there is moved aside first. Resolves with the new
 * path of that folder if it is kept.
 */
async function replaceLink(fresh: string, link: string): Promise<string | undefined> {
  const there = await lstat(link).catch(() => undefined);
  const going = there?.isDirectory() === true ? await moveAside(link) : undefined;
  await rename(fresh, link);
  return going === undefined ? undefined : removeUnlessUsed(going, undefined);
}

/** Moves a folder away from its path in one step. Resolves with its new path; undefined when there is no folder. */
async function moveAside(folder: string): Promise<string | undefined> {
  const going = join(dirname(folder), `.g${randomBytes(3).toString('hex')}`);
  try {
    await rename(folder, going);
    return going;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Removes a folder, unless another server listens in it, whose sessions would become unreachable. A folder that the user may not remove
 * stays, too. `ours`: inode of the socket made here. Resolves with the folder if it is kept. Never rejects.
 */
async function removeUnlessUsed(folder: string, ours: bigint | undefined): Promise<string | undefined> {
  const socket = await lstat(join(folder, SOCKET), { bigint: true }).catch(() => undefined);
  const foreign = socket !== undefined && socket.ino !== ours;
  if (foreign && (await isListening(join(folder, SOCKET), LIMITS.engineAnswerMs))) {
    await chmod(folder, 0o700).catch(() => undefined);
    return folder;
  }
  return removeFolder(folder).then(
    () => undefined,
    () => folder,
  );
}

/** Removes a link if it still leads to `target`. */
function unlinkIf(link: string, target: string): void {
  try {
    if (readlinkSync(link) === target) unlinkSync(link);
  } catch {
    // It has been removed, or is not a link.
  }
}

async function removeFolder(folder: string): Promise<void> {
  await chmod(folder, 0o700).catch(() => undefined);
  await rm(folder, { recursive: true, force: true });
}

/**
 * Removes the folders in which no process listens, because their engines have exited. Folders younger than `youngMs` stay, and so do up to
 * `MAX_DEAD_LINKS` dangling links. Never rejects: a folder that cannot be removed does no harm.
 */
export async function sweepFolders(parent: string, youngMs: number = YOUNG_MS): Promise<void> {
  await sweepAll(parent, () => youngMs);
}

/** The same for a daemon that stops or a context that is dropped. Only unfinished folders and links stay while they are young. */
export async function clearFolders(parent: string): Promise<void> {
  await sweepAll(parent, youthOf);
}

function youthOf(name: string): number {
  return /^\.[nl]/.test(name) ? YOUNG_MS : 0;
}

/** `kept`: how many of the newest dangling links stay. */
async function sweepAll(
  parent: string,
  youngMs: (name: string) => number,
  kept: number = MAX_DEAD_LINKS,
): Promise<void> {
  const names = await readdir(parent).catch((): string[] => []);
  const links = await Promise.all(
    names.map((name) => sweep(parent, name, youngMs(name)).catch(() => undefined)),
  );
  const dead = links.filter((link) => link !== undefined).sort((a, b) => b.mtimeMs - a.mtimeMs);
  for (const { path, target } of dead.slice(kept)) unlinkIf(path, target);
}

interface DeadLink {
  readonly path: string;
  readonly target: string;
  readonly mtimeMs: number;
}

/** Removes one entry if it is unused. Resolves with the entry if it is a dangling link to an internal name. */
async function sweep(parent: string, name: string, youngMs: number): Promise<DeadLink | undefined> {
  const path = join(parent, name);
  const info = await lstat(path).catch(() => undefined);
  if (info === undefined || Date.now() - info.mtimeMs < youngMs) return undefined;
  const { mtimeMs } = info;
  if (info.isSymbolicLink()) {
    const target = targetOf(path);
    // A new link that was never renamed to its path is not used.
    if (target !== undefined && OURS.test(name)) unlinkIf(path, target);
    else if (target !== undefined && OURS.test(target) && !(await isThere(path)))
      return { path, target, mtimeMs };
  } else if (info.isDirectory() && OURS.test(name)) {
    if (!(await isListening(join(path, SOCKET), LIMITS.engineAnswerMs))) await removeFolder(path);
  }
  return undefined;
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Removes a folder of target sockets with its dangling links. The folder stays if it has other entries or entries in use. Never rejects. */
export async function removeFolders(parent: string): Promise<void> {
  await clearFolders(parent);
  await sweepAll(parent, youthOf, 0);
  await rmdir(parent).catch(() => undefined);
}

function targetOf(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    return undefined;
  }
}
