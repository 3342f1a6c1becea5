// The TCP connection of a process, which may be one of its child's: ssh connects through the command of a ProxyJump. Linux only, from /proc.
import { readdir, readFile, readlink } from 'node:fs/promises';
import { LIMITS } from '../../base/limits.ts';
import { connectionsOf, type TableRow } from './table.ts';
import type { TcpWatch, WatchedConnection } from './watch.ts';

/** Processes below one that are looked at. */
const MAX_PROCESSES = 8;

/** What is known of a connection that another process holds. */
export interface Carried {
  /** Bytes that came over it. */
  readonly read: () => number;
  /** Bytes that were given to that process. */
  readonly written: () => number;
  readonly isClosed: () => boolean;
  readonly giveUp: WatchedConnection['giveUp'];
}

/** Watches the connection of process `pid`. Resolves with the function that ends that. Never rejects. */
export async function watchConnectionOf(pid: number, watch: TcpWatch, carried: Carried): Promise<() => void> {
  const row = await connectionOf(pid);
  if (row === undefined) return () => undefined;
  return watch.addConnection({
    ...row,
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
}

/** Whether process `pid` runs a program of this name. A process of a container may have told another one's id. */
export async function isProgram(pid: number, name: string): Promise<boolean> {
  const runs = await readFile(`/proc/${String(pid)}/comm`, 'utf8').catch(() => '');
  return runs.trim() === name;
}

/** The one connection of process `pid` and those below it; undefined where there is none or several, or the system does not say. */
async function connectionOf(pid: number): Promise<TableRow | undefined> {
  const inodes = new Set<string>();
  const pids = [pid];
  for (let at = 0; at < Math.min(pids.length, MAX_PROCESSES); at += 1) {
    const folder = `/proc/${String(pids[at])}`;
    for (const fd of await readdir(`${folder}/fd`).catch(() => [])) {
      const leadsTo = await readlink(`${folder}/fd/${fd}`).catch(() => '');
      const inode = /^socket:\[(\d+)\]$/.exec(leadsTo)?.[1];
      if (inode !== undefined) inodes.add(inode);
    }
    const children = await readFile(`${folder}/task/${String(pids[at])}/children`, 'utf8').catch(() => '');
    pids.push(...(children.match(/\d+/g) ?? []).map(Number));
  }
  const [found, ...others] = await connectionsOf(inodes, AbortSignal.timeout(LIMITS.fileReadMs));
  return others.length === 0 ? found : undefined;
}
