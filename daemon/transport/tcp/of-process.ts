// The TCP connection of a process, which may be one of its child's: ssh connects through the command of a ProxyJump. Linux only, from /proc.
import { readdir, readFile, readlink } from 'node:fs/promises';
import { SYSTEM_CLOCK, type Clock } from '../../base/async/clock.ts';
import { inTime } from '../../base/async/deadline.ts';
import { errnoOf } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import { connectionsOf, type TableRow } from './table.ts';
import type { TcpWatch, WatchedConnection } from './watch.ts';

/** Processes below one that are looked at. */
const MAX_PROCESSES = 8;
/** ms before a connection that was not found is searched for again, and how often it may be missing: one read of the table can miss a row. */
const AGAIN_MS = 2000;
const SEARCHES = 5;

/** What is known of a connection that another process holds. */
export interface Carried {
  /** Bytes that came over it. */
  readonly read: () => number;
  /** Bytes that were given to that process. */
  readonly written: () => number;
  readonly isClosed: () => boolean;
  readonly giveUp: WatchedConnection['giveUp'];
}

export interface SearchOptions {
  /** Finds the connection; rejects where the system could not be asked. Default: in /proc. */
  readonly find?: (pid: number) => Promise<TableRow | undefined>;
  readonly clock?: Pick<Clock, 'after'>;
}

/**
 * Watches the connection of process `pid` until the function that is returned is called. It is searched for meanwhile, and what was written
 * before it is found counts, too. Where there is none, nothing is watched.
 */
export function watchConnectionOf(
  pid: number,
  watch: TcpWatch,
  carried: Carried,
  { find = connectionOf, clock = SYSTEM_CLOCK }: SearchOptions = {},
): () => void {
  let row: TableRow | undefined;
  let isOver = false;
  let cancel = (): void => undefined;
  const unwatch = watch.addConnection({
    get key() {
      return row?.key;
    },
    get family() {
      return row?.family ?? 4;
    },
    get bytesRead() {
      return carried.read();
    },
    get bytesWritten() {
      return carried.written();
    },
    get isClosed() {
      return carried.isClosed();
    },
    giveUp: carried.giveUp,
  });
  const end = (): void => {
    isOver = true;
    cancel();
    unwatch();
  };
  const search = async (left: number): Promise<void> => {
    let after = left;
    const late = (): Error => new Error('late');
    try {
      row = await inTime(find(pid), LIMITS.fileReadMs, late);
      after -= 1;
    } catch {
      // The system was not asked, so this search does not count.
    }
    if (row !== undefined || isOver) return;
    if (after === 0) end();
    else cancel = clock.after(AGAIN_MS, () => void search(after));
  };
  void search(SEARCHES);
  return end;
}

/** Whether process `pid` runs a program of this name. A process of a container may have told another one's id. */
export async function isProgram(pid: number, name: string): Promise<boolean> {
  const runs = await readFile(`/proc/${String(pid)}/comm`, 'utf8').catch(() => '');
  return runs.trim() === name;
}

/**
 * The connection of process `pid`: the one below it, if it connects through another program, else its own one. ssh has made that before those of
 * its forwardings, so it has the lowest descriptor. Undefined where there is none, or where several programs below have one.
 */
export async function connectionOf(pid: number): Promise<TableRow | undefined> {
  const own = await socketsOf(pid);
  const below = new Set<string>();
  const pids = [pid];
  for (let at = 0; at < Math.min(pids.length, MAX_PROCESSES); at += 1) {
    const process = pids[at] ?? pid;
    if (at > 0) for (const inode of await socketsOf(process)) below.add(inode);
    const path = `/proc/${String(process)}/task/${String(process)}/children`;
    const children = await readFile(path, 'utf8').catch(unless(''));
    pids.push(...(children.match(/\d+/g) ?? []).map(Number));
  }
  const signal = AbortSignal.timeout(LIMITS.fileReadMs);
  const found = await connectionsOf(new Set([...own, ...below]), signal);
  const [through, ...others] = [...found].filter(([inode]) => below.has(inode));
  if (through !== undefined) return others.length === 0 ? through[1] : undefined;
  const first = own.find((inode) => found.has(inode));
  return first === undefined ? undefined : found.get(first);
}

/** The inodes of the sockets of a process, by descriptor. */
async function socketsOf(pid: number): Promise<string[]> {
  const folder = `/proc/${String(pid)}/fd`;
  const inodes: string[] = [];
  const fds = await readdir(folder).catch(unless<string[]>([]));
  for (const fd of fds.toSorted((a, b) => Number(a) - Number(b))) {
    const leadsTo = await readlink(`${folder}/${fd}`).catch(unless(''));
    const inode = /^socket:\[(\d+)\]$/.exec(leadsTo)?.[1];
    if (inode !== undefined) inodes.push(inode);
  }
  return inodes;
}

/** What counts for something in /proc that is not there, or not for this user; another failure of a read says nothing. */
function unless<T>(missing: T): (error: unknown) => T {
  return (error) => {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return missing;
    throw error;
  };
}
