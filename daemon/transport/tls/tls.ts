// Opens TLS streams to gateways. Contexts and session tickets are cached, and each is used only for one server name and one trust.
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
import { LruMap } from '../../base/lru-map.ts';

/** Maximum number of cached contexts: each contains the whole system bundle, about a megabyte. */
const CONTEXTS_MAX = 32;
/** Maximum number of tickets per context. A TLS 1.3 ticket is used once; a rustls gateway sends a few with each handshake. */
const TICKETS_MAX = 4;
/** Oldest ticket that is used, ms: a resumed session is not verified again. */
const TICKET_AGE_MS = 600_000;
const KEEP_ALIVE_MS = 15_000;
/** Minimum time for one of several addresses of a name, ms: Node's own default. */
const ATTEMPT_MIN_MS = 250;

/** The cache entry for one address, server name and trust. */
interface Kept {
  readonly context: SecureContext;
  readonly tickets: { readonly session: Buffer; readonly at: number }[];
}

/** All TLS that this process opens to targets. */
export class TlsContexts {
  readonly #roots: SystemRoots;
  readonly #caFiles = new CaFiles(CONTEXTS_MAX);
  /** By key, least recently used first. */
  readonly #kept = new LruMap<string, Kept>(CONTEXTS_MAX);

  constructor(options: { readonly roots: SystemRoots }) {
    this.#roots = options.roots;
  }

  /**
   * Opens one stream. `handshakeMs` counts from the TCP connect. Failures come in bmux's order (docs/bmux-protocol.md, "Order of checks"): CA
   * file, TCP, server name, handshake. End the stream with `endGracefully`, never with `destroy()`: without close_notify the server of the
   * gateway loses one connection (docs/bmux-protocol.md, "Connection limit").
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
      // An unreachable first address must leave time for the others; a distant one needs more than Node's 250 ms.
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
    // Set only after connecting: each of several addresses gets a new handle, without the settings of the last. The options of `tls.connect`
    // do not reach it either (Node 20 and 22).
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

  /** Returns the key of the current trust of `route`. Rejects as `open` would. */
  async trustOf(route: TlsRoute, label: string): Promise<string> {
    return (await trustOf(route, label, { roots: this.#roots, caFiles: this.#caFiles })).key;
  }

  async #keptFor(route: TlsRoute, label: string): Promise<Kept> {
    const trust = await trustOf(route, label, { roots: this.#roots, caFiles: this.#caFiles });
    const place = JSON.stringify([route.host, route.port, route.serverName, route.caFile ?? null]);
    const key = `${place} ${trust.key}`;
    const known = this.#kept.get(key);
    if (known === undefined) {
      // The trust of this address has changed: its old tickets were made under certificates that may not be trusted any more.
      for (const old of this.#kept.keys()) if (old.startsWith(`${place} `)) this.#kept.delete(old);
    }
    const kept = known ?? { context: trust.make(), tickets: [] };
    this.#kept.set(key, kept);
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

/** The tickets of one handshake: the one that it offers, and those that it receives. */
class Tickets {
  /** For `tls.connect`. */
  readonly offered: { readonly session?: Buffer };
  readonly #ticket: Kept['tickets'][number] | undefined;
  readonly #kept: Kept;
  /** Tickets received before the certificate is verified. They may come from anyone, and are kept only after the verification. */
  #early: Buffer[] | undefined = [];

  constructor(kept: Kept) {
    this.#kept = kept;
    const oldest = Date.now() - TICKET_AGE_MS;
    const fresh = kept.tickets.splice(0).filter(({ at }) => at > oldest);
    this.#ticket = fresh.pop();
    kept.tickets.push(...fresh);
    this.offered = this.#ticket === undefined ? {} : { session: this.#ticket.session };
  }

  /** Keeps the offered ticket, because no server has seen it. */
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
