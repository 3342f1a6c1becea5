// The folder of a target socket. Its mode is 0500, so that nothing can be bound or unlinked in it. It is reached through a symlink, which is replaced in
// one step (docs/decisions/target-socket-folders.md). The symlink stays when the folder goes. A bmux in a shell that still has the path then fails with
// EEXIST, also for root. Without the symlink it would make the folder, and start a server of its own in it.
import { createHash, randomBytes } from 'node:crypto';
import { readlinkSync, unlinkSync } from 'node:fs';
import { chmod, lstat, mkdir, readdir, rename, rm, rmdir, stat, symlink, unlink } from 'node:fs/promises';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
import { errnoOf } from '../../base/failure.ts';
import { makeFolder } from '../../base/files/make-folder.ts';
import { isListening, maxSocketPath } from '../../sockets/bind.ts';
import { fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';

/** Name of the socket: bmux looks for it in its runtime dir (docs/bmux-protocol.md). */
const SOCKET = 'server.sock';
/** Names that can be a folder's as they are. Those with capitals cannot: the file system of macOS may take two of them for one. */
const SAFE = /^[a-z0-9_][a-z0-9._-]*$/;
/** Names that no target's folder has: of a folder before an engine listens in it (n), while it does (d), and before it is removed (g); of a new symlink (l). */
const OURS = /^\.[ndlg][0-9a-f]{6}$/;
/** ms for which a folder or link without a listener may be one that another daemon is just making. */
const YOUNG_MS = 10_000;
/** Links that lead nowhere and are kept in one folder of target sockets. Beyond that the oldest go. */
const MAX_DEAD_LINKS = 256;

/** One target socket in the file system. */
export interface TargetSocketFolder {
  /** What BMUX_RUNTIME_DIR is set to: the symlink. */
  readonly runtimeDir: string;
  readonly socketPath: string;
  /** True while the path leads to our own socket. Root can replace it, whatever the mode. */
  isOurs(): Promise<boolean>;
  /**
   * Removes the folder; the path leads nowhere then, unless somebody else has replaced it. The caller closes the socket itself. Safe to call twice.
   * When somebody else has a server or files in the folder it is kept, and the promise resolves with its path.
   */
  remove(): Promise<string | undefined>;
  /** The folder that somebody else had put at the path before, when it is kept. */
  readonly setAside: string | undefined;
}

const hashed = (name: string): string => createHash('sha256').update(name).digest('hex').slice(0, 10);

/** A folder name for a target's name: itself where it is safe and short enough, else its beginning and a hash. Throws `socket_path_too_long`. */
export function folderName(parent: string, name: string, limit: number = maxSocketPath()): string {
  const room = limit - Buffer.byteLength(join(parent, 'x', SOCKET)) + 1;
  if (SAFE.test(name) && Buffer.byteLength(name) <= room) return name;
  const start = name
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
 * Makes `{parent}/{folder name}/server.sock` lead to a new socket, by replacing the symlink in one step. When it fails, nothing remains of it.
 * `listen` binds the server to a path, and resolves when somebody accepts there.
 */
export async function makeTargetSocketFolder(
  parent: string,
  name: string,
  server: Server,
  listen: (server: Server, path: string) => Promise<void> = listenHere,
): Promise<TargetSocketFolder> {
  const link = join(parent, folderName(parent, name));
  const nonce = randomBytes(3).toString('hex');
  // The folder is renamed after the bind: Node unlinks the path that it has bound when a server is closed, whoever has a socket there by then.
  const bound = join(parent, checked(parent, `.n${nonce}`, maxSocketPath()));
  const target = `.d${nonce}`;
  const folder = join(parent, target);
  const fresh = join(parent, `.l${nonce}`);
  await makeFolder(parent);
  await mkdir(bound, { mode: 0o700 });
  try {
    await listen(server, join(bound, SOCKET));
    const { ino, dev } = await lstat(join(bound, SOCKET), { bigint: true });
    await rename(bound, folder);
    await chmod(folder, 0o500);
    await symlink(target, fresh);
    const setAside = await replaceLink(fresh, link);
    return {
      runtimeDir: link,
      setAside,
      socketPath: join(link, SOCKET),
      isOurs: async () => {
        const now = await lstat(join(link, SOCKET), { bigint: true }).catch(() => undefined);
        return now?.ino === ino && now.dev === dev;
      },
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

/** A rename replaces a link, but not a folder that somebody has put there. Resolves with the path to which that folder was moved, when it is kept. */
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
 * Removes a folder, unless somebody else's server listens in it: nobody could reach the sessions of that server any more. What the user may not
 * remove stays, too. `ours`: inode of our own socket. Resolves with the folder when it is kept. Never rejects.
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
    // It is gone, or no link.
  }
}

async function removeFolder(folder: string): Promise<void> {
  await chmod(folder, 0o700).catch(() => undefined);
  await rm(folder, { recursive: true, force: true });
}

/**
 * Removes our folders in which nobody listens: those of engines that are gone. What another daemon may just be making stays, and so do links, up to
 * their maximum. Never rejects: what cannot be removed does no harm.
 */
export async function sweepFolders(parent: string, youngMs: number = YOUNG_MS): Promise<void> {
  await sweepAll(parent, () => youngMs);
}

/** The same for when a daemon stops or a context is forgotten. Only what another daemon may be making stays for some seconds. */
export async function clearFolders(parent: string): Promise<void> {
  await sweepAll(parent, youthOf);
}

function youthOf(name: string): number {
  return /^\.[nl]/.test(name) ? YOUNG_MS : 0;
}

/** `kept`: how many of the links that lead nowhere stay, the newest. */
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

/** Looks at one entry. Resolves with it when it is a link of ours that leads nowhere. */
async function sweep(parent: string, name: string, youngMs: number): Promise<DeadLink | undefined> {
  const path = join(parent, name);
  const info = await lstat(path).catch(() => undefined);
  if (info === undefined || Date.now() - info.mtimeMs < youngMs) return undefined;
  const { mtimeMs } = info;
  if (info.isSymbolicLink()) {
    const target = targetOf(path);
    // A new link that never came to its path is of no use.
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

/** Removes a folder of target sockets with its links that lead nowhere. What is not ours, or is in use, stays, and so does the folder then. Never rejects. */
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
