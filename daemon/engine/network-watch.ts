// Notices that the network has changed: another address, another interface. What was warm before may lead nowhere by now.
import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os';

/** As `os.networkInterfaces()` gives them. */
export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

export interface NetworkWatchOptions {
  readonly onChange: () => void;
  /** A test's own network. */
  readonly read?: () => Interfaces;
}

/** ms between two looks; one takes some 0.1 ms. */
const LOOK_MS = 1000;

export class NetworkWatch {
  readonly #options: NetworkWatchOptions;
  readonly #timer: NodeJS.Timeout;
  #seen: string;

  constructor(options: NetworkWatchOptions) {
    this.#options = options;
    this.#seen = this.#fingerprint();
    this.#timer = setInterval(() => {
      this.look();
    }, LOOK_MS);
    this.#timer.unref();
  }

  look(): void {
    const now = this.#fingerprint();
    if (now === this.#seen) return;
    this.#seen = now;
    this.#options.onChange();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Addresses that lead to other machines. The temporary ones of IPv6 come and go while nothing changes: their network counts. */
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

/** The first half of an IPv6 address, a /64, as it is written. */
function networkOf(address: string): string {
  const [head = ''] = address.split('::', 1);
  return head.split(':').slice(0, 4).join(':');
}
