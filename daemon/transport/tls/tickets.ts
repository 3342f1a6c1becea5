// The session tickets of one address, server name and trust, and those of one handshake.

/** Maximum number of tickets. A TLS 1.3 ticket is used once; a rustls gateway sends a few with each handshake. */
const TICKETS_MAX = 4;
/** Oldest ticket that is used, ms: a resumed session is not verified again. */
const TICKET_AGE_MS = 600_000;

export type KeptTickets = { readonly session: Buffer; readonly at: number }[];

/** The tickets of one handshake: the one that it offers, and those that it receives. */
export class Tickets {
  /** For `tls.connect`. */
  readonly offered: { readonly session?: Buffer };
  readonly #ticket: KeptTickets[number] | undefined;
  readonly #kept: KeptTickets;
  /** Tickets received before the certificate is verified. They may come from anyone, and are kept only after the verification. */
  #early: Buffer[] | undefined = [];

  constructor(kept: KeptTickets) {
    this.#kept = kept;
    const oldest = Date.now() - TICKET_AGE_MS;
    const fresh = kept.splice(0).filter(({ at }) => at > oldest);
    this.#ticket = fresh.pop();
    kept.push(...fresh);
    this.offered = this.#ticket === undefined ? {} : { session: this.#ticket.session };
  }

  /** Keeps the offered ticket, because no server has seen it. */
  unused(): void {
    if (this.#ticket !== undefined && this.#kept.length < TICKETS_MAX) this.#kept.push(this.#ticket);
  }

  readonly onSession = (session: Buffer): void => {
    if (this.#early === undefined) this.#keep(session);
    else this.#early.push(session);
  };

  /** The certificate was accepted: the tickets are kept. */
  verified(): void {
    for (const session of this.#early ?? []) this.#keep(session);
    this.#early = undefined;
  }

  /** No ticket is kept, also not of those that still come. */
  refused(): void {
    this.#kept.length = 0;
  }

  #keep(session: Buffer): void {
    if (this.#kept.length >= TICKETS_MAX) this.#kept.shift();
    this.#kept.push({ session, at: Date.now() });
  }
}
