// TLS to servers that are no gateways: they are verified as gateways are, by the system's roots alone.
import type { SecureContext, TLSSocket } from 'node:tls';
import { LruMap } from '../../base/lru-map.ts';
import { fail } from '../../errors/fail.ts';
import type { SystemRoots } from './certificates/roots.ts';
import { Trust, type Selection } from './trust.ts';
import { otherAnchors, refusalOf, type Refusal } from './verify.ts';

/** Hosts whose anchors are remembered when they are not the usual ones. */
const HOSTS_MAX = 32;

/** Node must not refuse the certificate: `refusalOf` reads why, and looks for other anchors. */
interface Unjudged {
  readonly secureContext: SecureContext;
  readonly rejectUnauthorized: false;
  readonly checkServerIdentity: () => undefined;
}

export class SystemTrust {
  readonly #roots: SystemRoots;
  readonly #selections = new LruMap<string, Selection>(HOSTS_MAX);
  #trust: Trust | undefined;

  constructor(roots: SystemRoots) {
    this.#roots = roots;
  }

  /**
   * Returns a connection whose certificate is valid for `host`. `connect` makes one up to the end of its handshake, and is called again for each
   * other anchor that may verify the server. Rejects with the first reason: `server_untrusted`, unless only the
   * name is another.
   */
  readonly verified = async (
    host: string,
    connect: (trust: Unjudged) => Promise<TLSSocket>,
  ): Promise<TLSSocket> => {
    const trust = await this.#current();
    let selection = this.#selections.get(host) ?? trust.first;
    let left: Selection[] | undefined;
    let first: Refusal | undefined;
    for (;;) {
      const secureContext = await trust.context(selection);
      const unjudged = {
        secureContext,
        rejectUnauthorized: false,
        checkServerIdentity: () => undefined,
      } as const;
      const socket = await connect(unjudged);
      const refusal = refusalOf(socket, host, trust, selection);
      if (refusal === undefined) {
        if (selection.key !== trust.first.key) this.#selections.set(host, selection);
        return socket;
      }
      socket.destroy();
      this.#selections.delete(host);
      // A name that is wrong says more than an anchor that is another.
      if (first === undefined || refusal.kind === 'name') first = refusal;
      left ??= [...(await otherAnchors(refusal, trust, selection)).selections];
      const next = left.shift();
      if (next === undefined)
        throw first.kind === 'name' ? first.why : fail('server_untrusted', { host, why: first.why.message });
      selection = next;
    }
  };

  /** The roots are read again at their next use, whatever their stamps say. */
  renew(): void {
    this.#roots.renew();
  }

  async #current(): Promise<Trust> {
    const roots = await this.#roots.current();
    if (this.#trust?.roots.version === roots.version) return this.#trust;
    this.#selections.clear();
    return (this.#trust = new Trust('roots', roots, undefined));
  }
}
