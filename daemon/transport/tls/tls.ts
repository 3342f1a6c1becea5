// Opens TLS streams to gateways. Contexts and session tickets are cached, and each is used only for one server name and one trust.
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import type { SecureContext, TLSSocket } from 'node:tls';
import { SYSTEM_CLOCK } from '../../base/async/clock.ts';
import { inTime, settledWithin } from '../../base/async/deadline.ts';
import { Slices } from '../../base/async/slices.ts';
import { Failure } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import { LruMap } from '../../base/lru-map.ts';
import { sawCloseNotify } from '../../base/node-internals.ts';
import { drainAfterWriteError } from '../../base/streams/drain-after-write-error.ts';
import { judgeEnd } from '../../base/streams/judge-end.ts';
import type { TlsRoute } from '../../engine-protocol/plan.ts';
import { advised, fail } from '../../errors/fail.ts';
import { established, type Dialling, type DialledStream } from '../dialling.ts';
import { endGracefully } from '../end.ts';
import { connectTlsReading } from '../read-buffers.ts';
import { HostNames } from '../tcp/host-names.ts';
import { acknowledgeNow } from '../tcp/options.ts';
import { TcpWatch } from '../tcp/watch.ts';
import type { SystemRoots } from './certificates/roots.ts';
import { handshakeFailure } from './alert.ts';
import { DialPace } from './dial-pace.ts';
import { isServerName, sniOf } from './server-name.ts';
import { hasPin, trustOrRefuse } from './pins.ts';
import { Tickets, type KeptTickets } from './tickets.ts';
import { Trusts, type Selection, type Trust } from './trust.ts';
import { otherAnchors, refusalOf, type Refusal } from './verify.ts';

/** Maximum number of addresses, server names and trusts whose tickets are kept. */
const KEPT_MAX = 32;
const KEEP_ALIVE_MS = 15_000;
/** ms that a handshake may still take when nobody wants its stream any more. */
const HANDSHAKE_ENDS_MS = 2000;
/** Minimum time for one of several addresses of a name, ms: Node's own default. */
const ATTEMPT_MIN_MS = 250;

/** What is kept for one address, server name and trust. */
interface Kept {
  readonly tickets: KeptTickets;
  /** The anchors that have verified the gateway, when it was not the usual selection. */
  selection?: Selection;
  /** A chain for which no other anchors have helped, and whether an anchor has signed it. */
  hopeless?: { readonly chain: string; readonly areSigned: boolean };
}

/** A finished handshake. */
interface Shaken {
  readonly socket: TLSSocket;
  readonly tickets: Tickets;
  readonly connectMs: number;
  readonly handshakeMs: number;
}

/** All TLS that this process opens to targets. */
export class TlsContexts {
  readonly #trusts: Trusts;
  readonly #watch = new TcpWatch();
  readonly #names = new HostNames();
  readonly #pace = new DialPace(SYSTEM_CLOCK);
  /** By key, least recently used first. */
  readonly #kept = new LruMap<string, Kept>(KEPT_MAX);

  constructor(options: { readonly roots: SystemRoots }) {
    this.#trusts = new Trusts(options.roots);
  }

  /**
   * Opens one stream. `handshakeMs` counts from the TCP connect. Failures come in bmux's order (docs/bmux-protocol.md, "Order of checks"): CA
   * file, TCP, server name, handshake. End the stream with `endGracefully`, never with `destroy()`: without close_notify the server of the
   * gateway loses one connection (docs/bmux-protocol.md, "Connection limit").
   */
  async open(route: TlsRoute, label: string, dialling: Dialling): Promise<DialledStream> {
    const { deadline, signal } = dialling;
    const late = (): Failure => fail('tls_connect_timeout', { label });
    const bounded = <T>(work: Promise<T>): Promise<T> => inTime(work, deadline.remaining(), late, { signal });
    const trust = await bounded(this.#trusts.current(route, label));
    const kept = this.#keptFor(route, trust);
    const left: Selection[] = [];
    let selection = kept.selection ?? trust.first;
    let first: Refusal | undefined;
    for (;;) {
      const context = await bounded(trust.context(selection));
      const address = `${route.host} ${String(route.port)}`;
      const dial = this.#pace.dial(address);
      let shaken: Shaken;
      try {
        if (dial.turn !== undefined) await bounded(dial.turn);
        // The candidates of a detection are dialled at once, and those of many requests beside them.
        await new Slices(address).next();
        signal.throwIfAborted();
        shaken = await handshake(route, label, dialling, context, kept, this.#names);
      } finally {
        dial.over();
      }
      const { socket, tickets, connectMs, handshakeMs } = shaken;
      const refusal = refusalOf(socket, route.serverName, trust, selection);
      const accept = (pinned?: TlsRoute): DialledStream => {
        // Without a pin in the route, the next connection must be compared with the store again.
        if (refusal === undefined || route.trust?.pin !== undefined) tickets.verified();
        else tickets.refused();
        if (refusal === undefined && selection.key !== trust.first.key) kept.selection = selection;
        judgeEnd(socket, () => (sawCloseNotify(socket) ? undefined : truncated()));
        drainAfterWriteError(socket, LIMITS.lingerMs);
        this.#watch.add(socket);
        const { remoteAddress } = socket;
        const hasMoved = (): boolean => this.#names.hasLeft(route.host, remoteAddress);
        const acknowledge = (): void => {
          acknowledgeNow(socket);
        };
        return { stream: socket, connectMs, handshakeMs, hasMoved, pinned, acknowledge };
      };
      // Other anchors would only show once more that the gateway is trusted.
      if (refusal === undefined || hasPin(route, refusal)) return accept();
      try {
        const chain = refusal.chain.map(({ certificate }) => certificate.fingerprint256).join();
        if (first === undefined) {
          first = refusal;
          const { hopeless } = kept;
          const { selections, areSigned } =
            hopeless?.chain === chain
              ? { ...hopeless, selections: [] }
              : await bounded(otherAnchors(refusal, trust, selection));
          left.push(...selections);
          if (areSigned) first = { fault: 'strict', ...refusal };
          delete kept.selection;
        } else if (refusal.kind === 'name') {
          // Other anchors have verified the chain: only the name is wrong.
          first = refusal;
        }
        const next = left.shift();
        if (next === undefined) {
          kept.hopeless = { chain, areSigned: first.fault === 'strict' };
          // This connection's certificate is judged, with the reason that leads on.
          const judged = { ...first, chain: refusal.chain };
          return accept(await bounded(trustOrRefuse(route, label, trust, judged)));
        }
        tickets.refused();
        selection = next;
      } catch (error) {
        tickets.refused();
        void endGracefully(socket, LIMITS.endMs);
        throw error;
      }
      // Not destroyed: the gateway has connected to its server already, and that connection would be lost.
      void endGracefully(socket, LIMITS.endMs);
    }
  }

  /** Returns the key of the current trust of `route`. Rejects as `open` would. */
  async trustOf(route: TlsRoute, label: string): Promise<string> {
    return (await this.#trusts.current(route, label)).key;
  }

  /** See `Trusts.renew`. */
  renew(): void {
    this.#trusts.renew();
  }

  #keptFor(route: TlsRoute, trust: Trust): Kept {
    const place = JSON.stringify([
      route.host,
      route.port,
      route.serverName,
      route.caFile ?? null,
      route.trust ?? null,
    ]);
    const key = `${place} ${trust.key}`;
    const known = this.#kept.get(key);
    if (known !== undefined) return known;
    // The trust of this address has changed: its old tickets were made under certificates that may not be trusted any more.
    for (const old of this.#kept.keys()) if (old.startsWith(`${place} `)) this.#kept.delete(old);
    const kept: Kept = { tickets: [] };
    this.#kept.set(key, kept);
    return kept;
  }
}

/** Connects and completes the handshake. The certificate is not verified yet. */
async function handshake(
  route: TlsRoute,
  label: string,
  dialling: Dialling,
  secureContext: SecureContext,
  kept: Kept,
  names: HostNames,
): Promise<Shaken> {
  const { deadline, signal } = dialling;
  const start = performance.now();
  const tcp = {
    host: route.host,
    port: route.port,
    lookup: names.lookup,
    allowHalfOpen: true,
    autoSelectFamily: true,
    // An unreachable first address must leave time for the others; a distant one needs more than Node's 250 ms.
    autoSelectFamilyAttemptTimeout: Math.max(ATTEMPT_MIN_MS, Math.floor(deadline.remaining() / 4)),
  };
  if (!isServerName(route.serverName)) {
    const socket = connectTcp(tcp);
    await connected(socket, route.host, label, dialling);
    socket.destroy();
    throw fail('tls_server_name_invalid', { serverName: route.serverName });
  }
  const tickets = new Tickets(kept.tickets);
  const socket = connectTlsReading({
    ...tcp,
    secureContext,
    servername: sniOf(route.serverName),
    // OpenSSL has verified the chain when the handshake is complete. `refusalOf` reads the result, so that a refused connection can be ended.
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    ...tickets.offered,
  });
  // Node asks for objects of all certificates, for `checkServerIdentity` alone. They would take a tenth of the dial's CPU time.
  Reflect.set(socket, 'getPeerCertificate', () => ({}));
  try {
    await connected(socket, route.host, label, dialling);
  } catch (error) {
    tickets.unused();
    throw error;
  } finally {
    names.tried(socket);
  }
  const connectedAt = performance.now();
  // Set only after connecting: each of several addresses gets a new handle, without the settings of the last. The options of `tls.connect`
  // do not reach it either (Node 20 and 22).
  socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS);
  socket.on('session', tickets.onSession);
  try {
    const late = (): Failure => fail('tls_handshake_timeout', { label });
    await established(socket, 'secureConnect', dialling, late, (shaken) => {
      void endAfter(shaken, socket);
    });
  } catch (error) {
    tickets.refused();
    if (error instanceof Failure || signal.aborted) throw error;
    throw handshakeFailure(label, error);
  }
  return {
    socket,
    tickets,
    connectMs: connectedAt - start,
    handshakeMs: performance.now() - connectedAt,
  };
}

/** Nobody wants the stream any more. A handshake that is cut costs the server of the gateway a connection, so it gets a little time. */
async function endAfter(shaken: Promise<void>, socket: Socket): Promise<void> {
  if (await settledWithin(shaken, HANDSHAKE_ENDS_MS)) await endGracefully(socket, LIMITS.endMs);
  else socket.destroy();
}

/** Anybody on the path can make such an end, so it does not prove that the peer has ended (docs/stream-ends.md). */
function truncated(): Error {
  return Object.assign(new Error('the connection ended without close_notify'), { code: 'ECONNRESET' });
}

/** Waits for the TCP connection. */
async function connected(socket: Socket, host: string, label: string, dialling: Dialling): Promise<void> {
  const late = (): Failure => {
    const addresses = socket.autoSelectFamilyAttemptedAddresses as string[] | undefined;
    const silent = new Error(`none of ${String(addresses?.join(' '))} took the connection`);
    return fail('tls_connect_timeout', { label }, (addresses?.length ?? 0) > 1 ? silent : undefined);
  };
  try {
    await established(socket, 'connect', dialling, late);
  } catch (error) {
    if (error instanceof Failure || dialling.signal.aborted) throw error;
    throw unreachable(label, host, error);
  }
}

/** The failure to find or to reach `host`. A name with a port or a scheme leads nowhere. */
export function unreachable(label: string, host: string, error: unknown): Failure {
  const failure = fail('tls_unreachable', { label }, error);
  if (isIP(host) !== 0 || !/[:/@\s]/.test(host)) return failure;
  return advised(failure, 'Give host a name or an IP address alone, and the port in port.');
}
