// Where host names lead, as the system has answered last. A warm connection to an address that a name has left is not used any more, and an
// address that took no connection is tried after the others of its name.
import { ADDRCONFIG, lookup as lookupByName, type LookupAddress } from 'node:dns';
import { isIP, type LookupFunction, type Socket } from 'node:net';
import { LruMap } from '../../base/lru-map.ts';

export interface HostNamesOptions {
  /** All addresses of a name. Default: those of the system. */
  readonly addressesOf?: (host: string) => Promise<readonly string[]>;
  /** Default: that of the system. */
  readonly lookup?: LookupFunction;
  /** Monotonic time, ms. */
  readonly now?: () => number;
}

interface FoundAddresses {
  readonly addresses: ReadonlySet<string>;
  readonly at: number;
}

/** Names at once; the least recently used are removed first. */
const MAX_NAMES = 256;
/** Addresses that have taken no connection, at once; and ms for which they are tried last. */
const MAX_SILENT = 256;
const SILENT_MS = 5 * 60_000;
/** ms after which a name with warm connections is looked up again. */
const RENEW_MS = 10_000;

export class HostNames {
  readonly #addressesOf: (host: string) => Promise<readonly string[]>;
  readonly #lookup: LookupFunction;
  readonly #now: () => number;
  /** Until when addresses are tried last. */
  readonly #silent = new LruMap<string, number>(MAX_SILENT);
  readonly #answers = new LruMap<string, FoundAddresses>(MAX_NAMES);
  /** One lookup at a time, since it occupies a thread until the system gives up. */
  #isAsking = false;

  constructor({
    addressesOf = systemAddresses,
    lookup = lookupByName,
    now = () => performance.now(),
  }: HostNamesOptions = {}) {
    this.#addressesOf = addressesOf;
    this.#lookup = lookup;
    this.#now = now;
  }

  /** For `net.connect`: the lookup of the system, whose answer is noted. Addresses that have taken no connection lately come last. */
  readonly lookup: LookupFunction = (host, options, done) => {
    this.#lookup(host, options, (error, address: string | LookupAddress[], family) => {
      if (error !== null || !Array.isArray(address)) {
        done(error, address, family);
        return;
      }
      this.#note(
        host,
        address.map((one) => one.address),
      );
      const now = this.#now();
      const isSilent = (one: LookupAddress): boolean => (this.#silent.get(one.address) ?? now) > now;
      done(null, [...address.filter((one) => !isSilent(one)), ...address.filter(isSilent)]);
    });
  };

  /**
   * A connection was tried. Addresses that did not answer in their time are tried last for a while. The last one that was tried after
   * others may have had too little.
   */
  tried(socket: Pick<Socket, 'autoSelectFamilyAttemptedAddresses' | 'remoteAddress'>): void {
    const attempted = (socket.autoSelectFamilyAttemptedAddresses as string[] | undefined) ?? [];
    for (const attempt of attempted.slice(0, -1))
      this.#silent.set(attempt.slice(0, attempt.lastIndexOf(':')), this.#now() + SILENT_MS);
    if (socket.remoteAddress !== undefined) this.#silent.delete(socket.remoteAddress);
  }

  /**
   * True when `host` does not lead to `address` any more, as far as is known. A name that cannot be looked up leads where it has led. When
   * the last answer is old, the system is asked again in the background.
   */
  hasLeft(host: string, address: string | undefined): boolean {
    if (isIP(host) !== 0 || address === undefined) return false;
    const answer = this.#answers.get(host);
    if (answer === undefined || this.#now() - answer.at >= RENEW_MS) this.#renew(host);
    return answer !== undefined && !answer.addresses.has(address);
  }

  #renew(host: string): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const over = (): void => {
      this.#isAsking = false;
    };
    this.#addressesOf(host)
      .then((addresses) => {
        this.#note(host, addresses);
      })
      .then(over, over);
  }

  #note(host: string, addresses: readonly string[]): void {
    if (addresses.length > 0) this.#answers.set(host, { addresses: new Set(addresses), at: this.#now() });
  }
}

function systemAddresses(host: string): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    lookupByName(host, { all: true, hints: ADDRCONFIG }, (error, addresses) => {
      if (error === null) resolve(addresses.map(({ address }) => address));
      else reject(error);
    });
  });
}
