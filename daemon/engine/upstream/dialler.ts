// Opens the transport streams of one upstream. Each stream is counted from the beginning of its dial, and spares are released for it.
import type { Duplex } from 'node:stream';
import type { WaitStep } from '../../api/answers.ts';
import type { Deadline } from '../../base/async/deadline.ts';
import type { Epoch } from '../../bmux-ipc/epoch.ts';
import { compressed } from '../../compression/stream.ts';
import type { Destination } from '../../engine-protocol/plan.ts';
import type { Candidate } from '../../hello/candidates.ts';
import type { HelloCache } from '../../hello/hello-cache.ts';
import type { Negotiated } from '../../hello/handshake.ts';
import type { IrohHost } from '../../iroh/host.ts';
import { SshEnd } from '../../transport/ssh/failures.ts';
import type { Transports, TransportStream } from './transports.ts';

/** Called at each step of opening a stream for a request. */
export type Progress = (step: WaitStep) => void;

/** A stream on which the Hello was answered, or will be with the expected answer. Everything that can be read is for the client. */
export interface OpenedStream {
  readonly stream: Duplex;
  readonly candidate: Candidate;
  readonly negotiated: Negotiated;
  /** False when a connection had to be made first. */
  readonly warm: boolean;
  /** See `TransportStream`. */
  readonly hasMoved?: (() => boolean) | undefined;
}

/** Counts the connections of one server that are taken. A server has 64 for all clients (docs/bmux-protocol.md, Connection limit). */
export class ConnectionCount {
  readonly #otherEngines: () => number;
  #held = 0;
  #dialling = 0;

  /** `otherEngines`: number of connections that other engines of this user hold at the server. */
  constructor(otherEngines: () => number) {
    this.#otherEngines = otherEngines;
  }

  /** Counts `stream` until it is closed. */
  hold(stream: Duplex): void {
    if (stream.closed) return;
    this.#held += 1;
    stream.once('close', () => {
      this.#held -= 1;
    });
  }

  /** Counts a dial until the returned function is called, once, when its stream is held or the dial has failed. */
  dial(): () => void {
    this.#dialling += 1;
    return () => {
      this.#dialling -= 1;
    };
  }

  /** Connections of this engine. */
  get held(): number {
    return this.#held;
  }

  get isDialling(): boolean {
    return this.#dialling > 0;
  }

  /** Connections of all engines of this user, and those that the dials under way will take. */
  get taken(): number {
    return this.#held + this.#dialling + this.#otherEngines();
  }
}

export interface UpstreamDiallerOptions {
  readonly transports: Pick<Transports, 'open' | 'ssh' | 'ends'>;
  readonly host: () => IrohHost;
  readonly connections: ConnectionCount;
  /** They are released when more connections are taken than `warmth.max_connections`. */
  readonly spares: { makeRoom(): void; markStale(): void };
  readonly helloCache: Pick<HelloCache, 'clear'>;
}

export class UpstreamDialler {
  readonly #options: UpstreamDiallerOptions;

  constructor(options: UpstreamDiallerOptions) {
    this.#options = options;
  }

  /** The dials of one request. */
  for(destination: Destination, deadline: Deadline, progress?: Progress): RequestDialler {
    return new RequestDialler(this.#options, { destination, deadline, progress });
  }
}

interface DialledRequest {
  readonly destination: Destination;
  readonly deadline: Deadline;
  readonly progress: Progress | undefined;
}

export class RequestDialler {
  readonly #options: UpstreamDiallerOptions;
  readonly #request: DialledRequest;
  #isConnected = false;
  /** False when a connection had to be made for one of the streams. */
  warm = true;

  constructor(options: UpstreamDiallerOptions, request: DialledRequest) {
    this.#options = options;
    this.#request = request;
  }

  /** What is known before the first Hello of the server's epoch. Over SSH that takes the login. Rejects when there is no way to the server. */
  async epochHint(signal: AbortSignal): Promise<Epoch | undefined> {
    const { destination, deadline, progress } = this.#request;
    const { route, label, link, epochHint } = destination;
    if (route.transport !== 'ssh') return epochHint;
    progress?.('connecting');
    const { ssh } = this.#options.transports;
    const { epoch, isKnown } = await ssh.epochOf(route, { label, link, deadline, signal });
    this.warm &&= isKnown;
    return epoch;
  }

  /** What is remembered of a server may not be so any more. */
  forget(): void {
    const { route } = this.#request.destination;
    if (route.transport === 'ssh') this.#options.transports.ssh.forget(route);
  }

  /** The server of a stream, or the way to it, has ended. The next stream asks it anew, and the spares are checked. */
  #serverEnded(): void {
    this.forget();
    this.#options.helloCache.clear();
    this.#options.spares.markStale();
  }

  /** Opens an authenticated stream in the candidate's compression. */
  async open({ compression }: Candidate, signal: AbortSignal): Promise<TransportStream> {
    const { transports, host, connections, spares } = this.#options;
    const { destination, deadline, progress } = this.#request;
    const { route, label, link } = destination;
    if (!this.#isConnected) progress?.('connecting');
    const dialled = connections.dial();
    spares.makeRoom();
    try {
      const opened = await transports.open(route, { label, link, deadline, signal }, host);
      connections.hold(opened.stream);
      opened.stream.once('error', (error) => {
        if (error instanceof SshEnd) this.#serverEnded();
      });
      this.#isConnected = true;
      progress?.('protocol detection');
      this.warm &&= opened.warm;
      if (compression === 'none') return opened;
      // The server has answered, so a cut would lose a connection of its gateway.
      const leave = (inner: Duplex): void => void transports.ends.end(inner);
      return { ...opened, stream: compressed(opened.stream, leave) };
    } finally {
      dialled();
    }
  }
}
