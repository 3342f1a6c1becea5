// Opens TLS streams to gateways: contexts and session tickets are kept, and never cross from one name or trust to another.
import { connect as connectTcp, type Socket } from 'node:net';
import type { SecureContext } from 'node:tls';
import { inTime } from '../../base/async/deadline.ts';
import { Failure } from '../../base/failure.ts';
import { drainAfterWriteError } from '../../base/streams/drain-after-write-error.ts';
import { fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import type { TlsRoute } from '../../engine-protocol/plan.ts';
import { established, type Dialling, type DialledStream } from '../dialling.ts';
import { connectTlsReading } from '../read-buffers.ts';
import { identityError, isServerName, sniOf } from './server-name.ts';
import type { SystemRoots } from './roots.ts';
import { CaFiles, trustOf } from './trust.ts';

/** A context holds the whole system bundle, about a megabyte. */
const CONTEXTS_MAX = 32;
/** A TLS 1.3 ticket is used once; a rustls gateway sends a few with each handshake. */
const TICKETS_MAX = 4;
/** A resumed session is not verified again, so an old one is not used, ms. */
const TICKET_AGE_MS = 600_000;
const KEEP_ALIVE_MS = 15_000;
/** Least time for one of several addresses of a name, ms: Node's own default. */
const ATTEMPT_MIN_MS = 250;

/** What is kept for one address, server name and trust. */
interface Kept {
  readonly context: SecureContext;
  readonly tickets: { readonly session: Buffer; readonly at: number }[];
}

/** All TLS that this process opens to targets. */
export class TlsContexts {
  readonly #roots: SystemRoots;
  readonly #caFiles = new CaFiles(CONTEXTS_MAX);
  /** By key, least recently used first. */
  readonly #kept = new Map<string, Kept>();

  constructor(options: { readonly roots: SystemRoots }) {
    this.#roots = options.roots;
  }

  /**
   * Opens one stream. `handshakeMs` counts from the TCP connect.
   * Failures in bmux's order (docs/bmux-protocol.md, "Order of checks"): CA file, TCP, server name, handshake.
   * End it with `endGracefully`, never with `destroy()`: without close_notify the gateway loses a place of its server (docs/bmux-protocol.md, "Connection limit").
   */
  async open(route: TlsRoute, label: string, dialling: Dialling): Promise<DialledStream> {
    const { deadline, signal } = dialling;
    const late = (): Failure => fail('tls_connect_timeout', { label });
    const kept = await inTime(this.#keptFor(route, label), deadline.remaining(), late, { signal });
    const start = performance.now();
    const tcp = {
      host: route.host,
      port: route.port,
      allowHalfOpen: true,
      autoSelectFamily: true,
      // A name with a dead first address must leave time for the others; a far one needs more than Node's 250 ms.
      autoSelectFamilyAttemptTimeout: Math.max(ATTEMPT_MIN_MS, Math.floor(deadline.remaining() / 4)),
    };
    if (!isServerName(route.serverName)) {
      const socket = connectTcp(tcp);
      await connected(socket, label, dialling);
      socket.destroy();
      throw fail('tls_server_name_invalid', { serverName: route.serverName });
    }
    const tickets = new Tickets(kept);
    const socket = connectTlsReading({
      ...tcp,
      secureContext: kept.context,
      servername: sniOf(route.serverName),
      checkServerIdentity: (_name, certificate) => identityError(route.serverName, certificate),
      rejectUnauthorized: true,
      ...tickets.offered,
    });
    try {
      await connected(socket, label, dialling);
    } catch (error) {
      tickets.unused();
      throw error;
    }
    const connectedAt = performance.now();
    // Not before: of several addresses the next one gets a handle of its own, which knows nothing of what was set on the last; and the
    // options of `tls.connect` do not reach it (Node 20 and 22).
    socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS);
    socket.on('session', tickets.onSession);
    try {
      await established(socket, 'secureConnect', dialling, () => fail('tls_handshake_timeout', { label }));
    } catch (error) {
      tickets.refused();
      if (error instanceof Failure || signal.aborted) throw error;
      throw fail('tls_handshake_failed', { label }, error);
    }
    tickets.verified();
    drainAfterWriteError(socket, LIMITS.lingerMs);
    return {
      stream: socket,
      connectMs: connectedAt - start,
      handshakeMs: performance.now() - connectedAt,
    };
  }

  /** Key of what `route` is verified against now. Rejects as `open` would. */
  async trustOf(route: TlsRoute, label: string): Promise<string> {
    return (await trustOf(route, label, { roots: this.#roots, caFiles: this.#caFiles })).key;
  }

  async #keptFor(route: TlsRoute, label: string): Promise<Kept> {
    const trust = await trustOf(route, label, { roots: this.#roots, caFiles: this.#caFiles });
    const place = JSON.stringify([route.host, route.port, route.serverName, route.caFile ?? null]);
    const key = `${place} ${trust.key}`;
    const known = this.#kept.get(key);
    this.#kept.delete(key);
    if (known === undefined) {
      // The same place under another trust: its tickets were made under what is no longer trusted.
      for (const old of this.#kept.keys()) if (old.startsWith(`${place} `)) this.#kept.delete(old);
    }
    const kept = known ?? { context: trust.make(), tickets: [] };
    this.#kept.set(key, kept);
    if (this.#kept.size > CONTEXTS_MAX) {
      const oldest = this.#kept.keys().next().value;
      if (oldest !== undefined) this.#kept.delete(oldest);
    }
    return kept;
  }
}

/** Waits for the TCP connection. */
async function connected(socket: Socket, label: string, dialling: Dialling): Promise<void> {
  try {
    await established(socket, 'connect', dialling, () => fail('tls_connect_timeout', { label }));
  } catch (error) {
    if (error instanceof Failure || dialling.signal.aborted) throw error;
    throw fail('tls_unreachable', { label }, error);
  }
}

/** The tickets of one handshake: the one that it offers, and those that come with it. */
class Tickets {
  /** For `tls.connect`. */
  readonly offered: { readonly session?: Buffer };
  readonly #ticket: Kept['tickets'][number] | undefined;
  readonly #kept: Kept;
  /** A ticket is worth something only after the certificate was verified; before that it may be anybody's. */
  #early: Buffer[] | undefined = [];

  constructor(kept: Kept) {
    this.#kept = kept;
    const oldest = Date.now() - TICKET_AGE_MS;
    const fresh = kept.tickets.splice(0).filter(({ at }) => at > oldest);
    this.#ticket = fresh.pop();
    kept.tickets.push(...fresh);
    this.offered = this.#ticket === undefined ? {} : { session: this.#ticket.session };
  }

  /** No server has seen the one that was offered. */
  unused(): void {
    if (this.#ticket !== undefined && this.#kept.tickets.length < TICKETS_MAX)
      this.#kept.tickets.push(this.#ticket);
  }

  readonly onSession = (session: Buffer): void => {
    if (this.#early === undefined) this.#keep(session);
    else this.#early.push(session);
  };

  verified(): void {
    for (const session of this.#early ?? []) this.#keep(session);
    this.#early = undefined;
  }

  refused(): void {
    this.#kept.tickets.length = 0;
  }

  #keep(session: Buffer): void {
    const { tickets } = this.#kept;
    if (tickets.length >= TICKETS_MAX) tickets.shift();
    tickets.push({ session, at: Date.now() });
  }
}
