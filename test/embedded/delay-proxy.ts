// A TCP proxy that simulates a distant peer on loopback: it delays each chunk by half a round trip each way. It keeps order and half-close,
// and can turn into a black hole. (UDP cannot be delayed like this: iroh finds the direct path.)
import {
  connect,
  createServer,
  type AddressInfo,
  type NetConnectOpts,
  type Server,
  type Socket,
} from 'node:net';

/** Bytes that one direction of one connection buffers before its source is paused. */
const HELD_LIMIT = 16 * 1024 * 1024;

export interface DelayProxyOptions {
  /** The address of the server: `{host, port}` or `{path}`. */
  readonly to: NetConnectOpts;
  /** The whole round trip, ms. */
  readonly roundTripMs: number;
  /** Default: a free port on 127.0.0.1. */
  readonly listen?: { readonly host: string; readonly port: number };
  /** Also adds one round trip for the TCP handshake, which the kernel does at once: the first chunk waits longer. Default false. */
  readonly handshake?: boolean;
}

export interface DelayProxy {
  readonly host: string;
  readonly port: number;
  /** Number of live connections. */
  connections(): number;
  /** Drops all data from now on, both ways, including ends, on old and new connections. */
  blackhole(): void;
  /** Bytes dropped so far. */
  swallowed(): number;
  /** Forwards data again that arrives from now on. */
  restore(): void;
  /** Resets all connections at once, without a proper end. */
  cut(): void;
  setRoundTrip(ms: number): void;
  stop(): Promise<void>;
}

/** One direction: chunks that were read, and when each may be forwarded. */
class HeldFlow {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #queue: { readonly at: number; readonly chunk: Buffer | null }[] = [];
  #held = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket, delay: () => number | undefined, swallow: (bytes: number) => void) {
    this.#from = from;
    this.#to = to;
    const take = (chunk: Buffer | null): void => {
      const wait = delay();
      if (wait === undefined) {
        swallow(chunk?.length ?? 0);
        return;
      }
      this.#queue.push({ at: performance.now() + wait, chunk });
      this.#held += chunk?.length ?? 0;
      if (this.#held > HELD_LIMIT) from.pause();
      this.#arm();
    };
    from.on('data', take);
    from.on('end', () => take(null));
    to.on('drain', () => this.#flush());
    to.on('close', () => this.#stop());
  }

  #arm(): void {
    const first = this.#queue[0];
    if (this.#timer !== undefined || first === undefined || this.#to.writableNeedDrain) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#flush();
      },
      Math.max(0, first.at - performance.now()),
    );
  }

  #flush(): void {
    // A timer may fire a fraction of a millisecond early.
    const now = performance.now() + 0.5;
    let first = this.#queue[0];
    while (first !== undefined && first.at <= now && !this.#to.writableNeedDrain && !this.#to.destroyed) {
      this.#queue.shift();
      if (first.chunk === null) this.#to.end();
      else {
        this.#held -= first.chunk.length;
        this.#to.write(first.chunk);
      }
      first = this.#queue[0];
    }
    if (this.#held <= HELD_LIMIT) this.#from.resume();
    this.#arm();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#queue.length = 0;
  }
}

/** Starts the proxy; it listens when the promise resolves. */
export async function startDelayProxy(options: DelayProxyOptions): Promise<DelayProxy> {
  const { host, port } = options.listen ?? { host: '127.0.0.1', port: 0 };
  let roundTripMs = options.roundTripMs;
  let dark = false;
  let swallowed = 0;
  const swallow = (bytes: number): void => void (swallowed += bytes);
  const sockets = new Set<Socket>();
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  };

  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ allowHalfOpen: true, noDelay: true, ...options.to });
    track(near);
    track(far);
    const half = (): number | undefined => (dark ? undefined : roundTripMs / 2);
    const opened = performance.now();
    const charged = options.handshake === true ? roundTripMs : 0;
    // Everything that arrives during the simulated handshake is forwarded at its end, in order.
    const up = (): number | undefined => {
      const wait = half();
      return wait === undefined ? undefined : wait + Math.max(0, opened + charged - performance.now());
    };
    void new HeldFlow(near, far, up, swallow);
    void new HeldFlow(far, near, half, swallow);
    // An error on one side resets the other, except in black-hole mode.
    const breaks = (one: Socket, other: Socket): void => {
      one.on('error', () => {
        if (!dark) other.resetAndDestroy();
      });
      one.on('close', () => {
        if (!dark && (one.errored !== null || !one.readableEnded)) other.destroySoon();
      });
    };
    breaks(near, far);
    breaks(far, near);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, resolve);
  });
  const address = server.address() as AddressInfo;
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    host: address.address,
    port: address.port,
    connections: () => Math.ceil(sockets.size / 2),
    blackhole: () => (dark = true),
    swallowed: () => swallowed,
    restore: () => (dark = false),
    cut,
    setRoundTrip: (ms) => (roundTripMs = ms),
    stop: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      cut();
      await closed;
    },
  };
}
