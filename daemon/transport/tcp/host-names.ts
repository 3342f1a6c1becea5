// Where host names lead, as the system has answered last. A warm connection to an address that a name has left is not used any more.
import { ADDRCONFIG, lookup as lookupByName, type LookupAddress } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { LruMap } from '../../base/lru-map.ts';

export interface HostNamesOptions {
  /** All addresses of a name. Default: those of the system. */
  readonly addressesOf?: (host: string) => Promise<readonly string[]>;
  /** Monotonic time, ms. */
  readonly now?: () => number;
}

interface Answer {
  readonly addresses: ReadonlySet<string>;
  readonly at: number;
}

/** Names at once; the least recently used are removed first. */
const MAX_NAMES = 256;
/** ms after which a name with warm connections is looked up again. */
const RENEW_MS = 10_000;

export class HostNames {
  readonly #addressesOf: (host: string) => Promise<readonly string[]>;
  readonly #now: () => number;
  readonly #answers = new LruMap<string, Answer>(MAX_NAMES);
  /** One lookup at a time, since it occupies a thread until the system gives up. */
  #isAsking = false;

  constructor({ addressesOf = systemAddresses, now = () => performance.now() }: HostNamesOptions = {}) {
    this.#addressesOf = addressesOf;
    this.#now = now;
  }

  /** For `net.connect`: the lookup of the system, whose answer is noted. */
  readonly lookup: LookupFunction = (host, options, done) => {
    lookupByName(host, options, (error, address: string | LookupAddress[], family) => {
      if (error === null && Array.isArray(address))
        this.#note(
          host,
          address.map((one) => one.address),
        );
      done(error, address, family);
    });
  };

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
