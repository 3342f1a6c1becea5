// Detects a change of the network: another address or another interface. Connections made before the change may be dead.
import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os';
import { SYSTEM_CLOCK } from '../base/async/clock.ts';

/** As `os.networkInterfaces()` gives them. */
export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

export interface NetworkWatchOptions {
  readonly onChange: () => void;
  /** Replaces `os.networkInterfaces` in tests. */
  readonly read?: () => Interfaces;
}

/** ms between two checks; each takes about 0.1 ms. */
const LOOK_MS = 2000;

export class NetworkWatch {
  readonly #options: NetworkWatchOptions;
  readonly close: () => void;
  #seen: string;

  constructor(options: NetworkWatchOptions) {
    this.#options = options;
    this.#seen = this.#fingerprint();
    this.close = SYSTEM_CLOCK.every(LOOK_MS, () => {
      this.look();
    });
  }

  /** Compares the addresses with those of the last check, and calls `onChange` when they differ. */
  look(): void {
    const now = this.#fingerprint();
    if (now === this.#seen) return;
    this.#seen = now;
    this.#options.onChange();
  }

  /**
   * All non-internal addresses as one text. Of an IPv6 address only the /64 network counts: temporary addresses (RFC 8981) change
   * while the network stays the same.
   */
  #fingerprint(): string {
    const all = Object.entries((this.#options.read ?? networkInterfaces)());
    const networks = all.flatMap(([name, addresses = []]) =>
      addresses
        .filter(({ internal }) => !internal)
        .map(({ family, address }) => `${name} ${family === 'IPv6' ? networkOf(address) : address}`),
    );
    return [...new Set(networks)].sort().join('\n');
  }
}

/** The first four groups of an IPv6 address, its /64 network, as text. */
function networkOf(address: string): string {
  const [head = ''] = address.split('::', 1);
  return head.split(':').slice(0, 4).join(':');
}
