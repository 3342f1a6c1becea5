// What the kernel says of TCP connections: how often it has sent again what the peer does not acknowledge. Linux only, from /proc/net/tcp.
import { readFile } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { endianness } from 'node:os';
import { errnoOf } from '../../base/failure.ts';

/** Both ends of a connection, as on a `Socket`. */
export interface Ends {
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}

/** What was sent on a connection without an answer: the oldest bytes that the peer has not acknowledged, or a question to a full window. */
export interface SentAgain {
  /** How often it was sent again. */
  readonly times: number;
  /** ms since it was sent first, at least; undefined where the kernel does not tell, or its pauses do not. */
  readonly ms: number | undefined;
  /** Whether the peer's window is full. */
  readonly isFull?: boolean;
}

/** The connections with bytes that the peer has not acknowledged, by `endsKey`. */
export type Unanswered = ReadonlyMap<string, SentAgain>;

const FILES = { 4: '/proc/self/net/tcp', 6: '/proc/self/net/tcp6' } as const;
/** Timers of a connection in the table: sending again, and asking a full window. An acknowledgement ends each count. */
const SENDS_AGAIN = '01';
const ASKS_WINDOW = '04';
/** ms of the unit of times in the table, on every machine (USER_HZ). */
const MS_OF_TICK = 10;
/** Ticks of the shortest and the longest pause before the kernel sends again. */
const PAUSE = { least: 20, most: 12_000 } as const;
/** The state of a connection that both sides have made. */
const CONNECTED = '01';

/** The connections of this machine with unanswered bytes; undefined where the system has no such table. */
export async function readUnanswered(
  families: ReadonlySet<4 | 6>,
  signal: AbortSignal,
): Promise<Unanswered | undefined> {
  const all = new Map<string, SentAgain>();
  for (const family of families) {
    const text = await readFile(FILES[family], { encoding: 'latin1', signal }).catch(() => undefined);
    if (text === undefined) return undefined;
    for (const [key, sent] of parseTable(text)) all.set(key, sent);
  }
  return all;
}

/** A connection in the table. */
export interface TableRow {
  readonly key: string;
  readonly family: 4 | 6;
}

/**
 * The connections whose sockets have these inodes, by inode: a table that changes while it is read may show one twice. Rejects when the table
 * could not be read.
 */
export async function connectionsOf(
  inodes: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<Map<string, TableRow>> {
  const found = new Map<string, TableRow>();
  for (const family of [4, 6] as const) {
    const text = await readFile(FILES[family], { encoding: 'latin1', signal }).catch((error: unknown) => {
      // A system without this table, or without this family.
      if (errnoOf(error) === 'ENOENT') return '';
      throw error;
    });
    for (const [inode, row] of parseConnections(text, family)) if (inodes.has(inode)) found.set(inode, row);
  }
  return found;
}

/** The connections in one table, by the inodes of their sockets. */
export function parseConnections(text: string, family: 4 | 6): Map<string, TableRow> {
  const all = new Map<string, TableRow>();
  for (const line of text.split('\n').slice(1)) {
    const fields = line.trim().split(/\s+/);
    const [, local, remote, state] = fields;
    const inode = fields[9];
    if (local === undefined || remote === undefined || inode === undefined) continue;
    if (state === CONNECTED) all.set(inode, { key: `${local} ${remote}`, family });
  }
  return all;
}

/** Reads one table (proc_net_tcp in the documentation of Linux). */
export function parseTable(text: string): Unanswered {
  const all = new Map<string, SentAgain>();
  for (const line of text.split('\n').slice(1)) {
    const fields = line.trim().split(/\s+/);
    const [, local, remote, , queues, timer = '', retransmits = '', , probes = ''] = fields;
    if (local === undefined || remote === undefined || queues === undefined) continue;
    if (/^0+:/.test(queues)) continue;
    const [kind, inTicks = ''] = timer.split(':');
    let sent: SentAgain = { times: 0, ms: undefined };
    if (kind === SENDS_AGAIN) {
      const times = Number.parseInt(retransmits, 16);
      sent = { times, ms: msUnanswered(times, Number.parseInt(inTicks, 16), Number(fields[12])) };
    } else if (kind === ASKS_WINDOW)
      sent = { times: Number.parseInt(probes, 10), ms: undefined, isFull: true };
    all.set(`${local} ${remote}`, sent);
  }
  return all;
}

/**
 * ms since bytes were sent that were sent `times` again: each pause is twice the one before, the present one has `pause` ticks, and `left` of
 * them are to come. After each ICMP "host unreachable", also of this machine's own, the kernel halves the pause (RFC 6069), which then tells
 * nothing: it is shorter than so many doublings make it.
 */
function msUnanswered(times: number, left: number, pause: number): number | undefined {
  if (pause < Math.min(PAUSE.least * 2 ** times, PAUSE.most)) return undefined;
  const ticks = pause * (1 - 2 ** -times) + pause - left;
  return Number.isFinite(ticks) && left <= pause ? ticks * MS_OF_TICK : undefined;
}

/** The key of a connection in the table; undefined when it is not connected. */
export function endsKey({ localAddress, localPort, remoteAddress, remotePort }: Ends): string | undefined {
  if (localAddress === undefined || localPort === undefined) return undefined;
  if (remoteAddress === undefined || remotePort === undefined) return undefined;
  return `${place(localAddress, localPort)} ${place(remoteAddress, remotePort)}`;
}

export function familyOf({ remoteAddress }: Ends): 4 | 6 {
  return isIPv6(remoteAddress ?? '') ? 6 : 4;
}

function place(address: string, port: number): string {
  const hexPort = port.toString(16).padStart(4, '0');
  return `${wordsOf(address).map(hexWord).join('')}:${hexPort}`.toUpperCase();
}

/** The table shows each 32 bits of an address as a number in the byte order of the machine. */
function hexWord(bytes: readonly number[]): string {
  const inOrder = endianness() === 'LE' ? bytes.toReversed() : bytes;
  return inOrder.map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The bytes of an address, four by four. */
function wordsOf(address: string): number[][] {
  const bytes = isIPv6(address) ? bytesOfIPv6(address) : address.split('.').map(Number);
  return Array.from({ length: bytes.length / 4 }, (_, word) => bytes.slice(4 * word, 4 * word + 4));
}

function bytesOfIPv6(address: string): number[] {
  const [plain = ''] = address.split('%', 1);
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(plain);
  const [a = 0, b = 0, c = 0, d = 0] = (dotted ?? []).slice(2).map(Number);
  const hex =
    dotted === null ? plain : `${dotted[1] ?? ''}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  const [head = '', tail] = hex.split('::');
  const groups = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
  const first = groups(head);
  const last = groups(tail ?? '');
  const zeros = Array.from({ length: 8 - first.length - last.length }, () => 0);
  return [...first, ...zeros, ...last].flatMap((group) => [group >> 8, group & 255]);
}
