// Detects a change of the network: another address, interface or default route, or a sleep of the machine. Connections made before may be dead.
import { readFileSync } from 'node:fs';
import { SYSTEM_CLOCK } from '../base/async/clock.ts';
import { isOutOfFiles } from '../base/failure.ts';
import { interfaces, type Interfaces } from '../base/process/network.ts';

/** What was noticed: another network, or a jump of the wall clock. */
export type NetworkChange = 'network' | 'clock';

export interface NetworkWatchOptions {
  readonly onChange: (what: NetworkChange) => void;
  /** Replaces `interfaces` in tests. */
  readonly read?: () => Interfaces | undefined;
  /** Replaces the tables of routes of this system in tests. */
  readonly routes?: () => RouteTables | undefined;
  /** Wall clock, ms. Replaced in tests. */
  readonly now?: () => number;
}

/** `/proc/net/route` and `/proc/net/ipv6_route` as texts; empty where the system has none. */
export interface RouteTables {
  readonly ipv4: string;
  readonly ipv6: string;
}

/** ms between two checks; each takes about 0.1 ms. */
const LOOK_MS = 2000;
/**
 * ms by which the wall clock must have moved more than the time between two checks, or back. The machine has slept then, or this process did not run:
 * timers stand still in both cases. A clock that was only set costs each connection one question.
 */
const JUMP_MS = 5000;

export class NetworkWatch {
  readonly #options: NetworkWatchOptions;
  readonly close: () => void;
  readonly #now: () => number;
  #seen: string | undefined;
  /** The tables of the last look with what they say: they seldom change, and parsing them takes a third of a look. */
  #routes: { readonly tables: RouteTables; readonly defaults: readonly string[] } | undefined;
  #lookedAt: number;

  constructor(options: NetworkWatchOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#lookedAt = this.#now();
    this.#seen = this.#fingerprint();
    this.close = SYSTEM_CLOCK.every(LOOK_MS, () => {
      this.look();
    });
  }

  /** Compares the addresses and the clock with those of the last check, and calls `onChange` when they differ. */
  look(): void {
    const isAnother = this.#isAnotherNetwork();
    const hasJumped = this.#hasJumped();
    if (isAnother || hasJumped) this.#options.onChange(isAnother ? 'network' : 'clock');
  }

  /** To be called before a connection is used: the timer may not have run since the machine woke up. */
  noticeJump(): void {
    if (this.#hasJumped()) this.#options.onChange('clock');
  }

  #isAnotherNetwork(): boolean {
    const now = this.#fingerprint();
    if (now === undefined) return false;
    const before = this.#seen;
    this.#seen = now;
    return before !== undefined && now !== before;
  }

  #hasJumped(): boolean {
    const before = this.#lookedAt;
    this.#lookedAt = this.#now();
    return Math.abs(this.#lookedAt - before) > LOOK_MS + JUMP_MS;
  }

  /**
   * All non-internal addresses and default routes as one text. Of an IPv6 address only the /64 network counts: temporary addresses (RFC 8981) change
   * while the network stays the same. Undefined when they cannot be read now, as without a free file descriptor.
   */
  #fingerprint(): string | undefined {
    const all = (this.#options.read ?? interfaces)();
    const routes = this.#defaultRoutes();
    if (all === undefined || routes === undefined) return undefined;
    const networks = Object.entries(all).flatMap(([name, addresses = []]) =>
      addresses
        .filter(({ internal }) => !internal)
        .map(({ family, address }) => `${name} ${family === 'IPv6' ? networkOf(address) : address}`),
    );
    return [...new Set([...networks, ...routes])].sort().join('\n');
  }

  #defaultRoutes(): readonly string[] | undefined {
    const tables = (this.#options.routes ?? routeTables)();
    if (tables === undefined) return undefined;
    const before = this.#routes;
    if (before?.tables.ipv4 === tables.ipv4 && before.tables.ipv6 === tables.ipv6) return before.defaults;
    this.#routes = { tables, defaults: defaultRoutes(tables) };
    return this.#routes.defaults;
  }
}

/** The first four groups of an IPv6 address, its /64 network, as text. */
function networkOf(address: string): string {
  const [head = ''] = address.split('::', 1);
  return head.split(':').slice(0, 4).join(':');
}

/** Of each default route its interface and gateway. A laptop with a cable and a radio keeps its addresses when the cable is pulled. */
function defaultRoutes({ ipv4, ipv6 }: RouteTables): string[] {
  const rows = (table: string): string[][] => table.split('\n').map((line) => line.trim().split(/\s+/));
  const four = rows(ipv4).flatMap(([name, destination, gateway, , , , , mask]) =>
    destination === NOWHERE && mask === NOWHERE ? [`default ${name ?? ''} ${gateway ?? ''}`] : [],
  );
  // The kernel has a default route of its own to lo, which refuses.
  const six = rows(ipv6).flatMap(([destination, prefix, , , gateway, , , , , name]) =>
    /^0+$/.test(destination ?? '') && prefix === '00' && name !== 'lo'
      ? [`default ${name ?? ''} ${gateway ?? ''}`]
      : [],
  );
  return [...four, ...six];
}

const NOWHERE = '00000000';

/** Undefined when they cannot be read now. */
function routeTables(): RouteTables | undefined {
  const ipv4 = textOf('/proc/net/route');
  const ipv6 = textOf('/proc/net/ipv6_route');
  return ipv4 === undefined || ipv6 === undefined ? undefined : { ipv4, ipv6 };
}

/** Empty where there is no such file, as on macOS. */
function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    return isOutOfFiles(error) ? undefined : '';
  }
}
