// The folder of a target socket: 0500, so that nothing can be bound or unlinked inside, behind a symlink that is swapped whole (design.md).
import { createHash, randomBytes } from 'node:crypto';
import { readlinkSync, unlinkSync } from 'node:fs';
import { chmod, lstat, mkdir, readdir, rename, rm, rmdir, symlink, unlink } from 'node:fs/promises';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { isListening, maxSocketPath } from '../handoff/bind.ts';
import { fail } from '../wire/fail.ts';
import { LIMITS } from '../wire/limits.ts';

/** Name of the socket: the one that bmux looks for in its runtime dir (spec/behaviour.md §6). */
const SOCKET = 'server.sock';
/** A name that needs no change to be a folder's. Capitals do: two names may be one to the file system of macOS. */
const SAFE = /^[a-z0-9_][a-z0-9._-]*$/;
/** What a target's name can never be: folders before they serve, folders that serve, links before they are swapped in. */
const OURS = /^\.[ndl][0-9a-f]{6}$/;
/** ms for which a folder or link without a listener is taken for one that is just being made. */
const YOUNG_MS = 10_000;

/** One target socket in the file system. */
export interface DoorFolder {
  /** What BMUX_RUNTIME_DIR is set to: the symlink. */
  readonly runtimeDir: string;
  readonly socketPath: string;
  /** True while the path leads to our own socket: root is not held back by 0500. */
  isOurs(): Promise<boolean>;
  /** Takes the path away, if it is still ours. The listening socket itself is the caller's. Safe to call twice. */
  remove(): Promise<void>;
}

const hashed = (name: string): string => createHash('sha256').update(name).digest('hex').slice(0, 10);

/** A folder name for a target's name: itself where it is safe and short enough, else its beginning and a hash. Throws `socket_path_too_long`. */
export function doorName(parent: string, name: string, limit: number = maxSocketPath()): string {
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
 * Listens behind `{parent}/{folder name}/server.sock`, and swaps the symlink to it in one step. When it fails, nothing is left.
 * `listen` binds the server to a path, and resolves when somebody accepts there.
 */
export async function makeDoorFolder(
  parent: string,
  name: string,
  server: Server,
  listen: (server: Server, path: string) => Promise<void> = listenHere,
): Promise<DoorFolder> {
  const link = join(parent, doorName(parent, name));
  const nonce = randomBytes(3).toString('hex');
  // Bound under another name than it ends with: who closes a server unlinks the name that it bound, even when somebody else serves the socket by then.
  const bound = join(parent, checked(parent, `.n${nonce}`, maxSocketPath()));
  const target = `.d${nonce}`;
  const folder = join(parent, target);
  const fresh = join(parent, `.l${nonce}`);
  await mkdir(parent, { recursive: true, mode: 0o700 });
  await mkdir(bound, { mode: 0o700 });
  try {
    await listen(server, join(bound, SOCKET));
    const { ino, dev } = await lstat(join(bound, SOCKET), { bigint: true });
    await rename(bound, folder);
    await chmod(folder, 0o500);
    await symlink(target, fresh);
    await replaceLink(fresh, link);
    return {
      runtimeDir: link,
      socketPath: join(link, SOCKET),
      isOurs: async () => {
        const now = await lstat(join(link, SOCKET), { bigint: true }).catch(() => undefined);
        return now?.ino === ino && now.dev === dev;
      },
      remove: async () => {
        unlinkIf(link, target);
        await removeFolder(folder);
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

/** A rename does not replace a folder that somebody put there instead of the link. */
async function replaceLink(fresh: string, link: string): Promise<void> {
  const there = await lstat(link).catch(() => undefined);
  if (there?.isDirectory() === true) await removeFolder(link);
  await rename(fresh, link);
}

/**
 * Removes a link that still leads where we left it. Not one step: a link that is swapped in right between the two is lost, and its maker,
 * which looks after it, makes a new one.
 */
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

/** Removes folders and links of ours that lead to no listening socket: what an engine that has gone left behind. What may be under way is left. */
export async function sweepDoors(parent: string, youngMs: number = YOUNG_MS): Promise<void> {
  const names = await readdir(parent).catch((): string[] => []);
  await Promise.all(names.map((name) => sweep(parent, name, youngMs)));
}

async function sweep(parent: string, name: string, youngMs: number): Promise<void> {
  const path = join(parent, name);
  const info = await lstat(path).catch(() => undefined);
  if (info === undefined || Date.now() - info.mtimeMs < youngMs) return;
  if (info.isSymbolicLink()) {
    const target = targetOf(path);
    if (target === undefined || !OURS.test(target)) return;
    if (!(await isListening(join(path, SOCKET), LIMITS.engineAnswerMs))) unlinkIf(path, target);
  } else if (info.isDirectory() && OURS.test(name)) {
    if (!(await isListening(join(path, SOCKET), LIMITS.engineAnswerMs))) await removeFolder(path);
  }
}

/** Removes whatever of ours is in a folder of doors, served or not, and the folder itself: for a daemon that stops, and for contexts that are forgotten. */
export async function clearDoors(parent: string): Promise<void> {
  const names = await readdir(parent).catch((): string[] => []);
  for (const name of names) {
    const path = join(parent, name);
    const target = targetOf(path);
    if (target !== undefined && OURS.test(target)) unlinkIf(path, target);
    else if (target === undefined && OURS.test(name)) await removeFolder(path);
  }
  // What is not ours stays, and the folder with it.
  await rmdir(parent).catch(() => undefined);
}

function targetOf(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    return undefined;
  }
}
