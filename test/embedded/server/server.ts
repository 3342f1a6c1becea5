// The embedded bmux server. It behaves on its socket like the real ones of both epochs (docs/bmux-protocol.md, "Across epochs" and "Connection
// limit"), and its services echo.
import { rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { defaultContract, type Request } from '../../../daemon/bmux-ipc/ipc.ts';
import type { Epoch } from '../../../daemon/bmux-ipc/epoch.ts';
import { Connection, type ConnectionHost, type HelloSeen } from './connection.ts';

/** Maximum number of connections of a v4 server (docs/bmux-protocol.md, "Connection limit"). */
const MAX_CONNECTIONS = 64;
/** How long a v4 server waits for a client to take a frame, ms. */
const WRITE_LIMIT_MS = 5000;

export interface EmbeddedServerOptions {
  readonly socketPath: string;
  /** `both`: each connection uses the epoch of its first frame, unlike real servers. */
  readonly epoch: Epoch | 'both';
  /** The server's own principal; default: that of each client, which is then the owner. */
  readonly principalId?: string;
  /** Default 64, and no limit for epoch 3. */
  readonly connections?: number;
  /** Default 5000. */
  readonly handshakeTimeoutMs?: number;
  /** Time limit for a frame to a client that does not read, ms; default 5000, and no limit for epoch 3. */
  readonly writeLimitMs?: number;
  /** Capabilities of the server; default: those of a current server. */
  readonly capabilities?: readonly string[];
}

export interface EmbeddedServerStats {
  readonly accepted: number;
  /** Connections that were refused at the connection limit. */
  readonly refused: number;
  /** Connections that were closed because the client did not read. */
  readonly stalled: number;
  readonly hellos: number;
  readonly lastHello: HelloSeen | undefined;
  /** Number of requests by type, including the Hello. */
  readonly requests: Readonly<Partial<Record<Request['type'], number>>>;
  /** Bytes of connections that have ended. */
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export class EmbeddedServer {
  readonly socketPath: string;
  readonly #options: EmbeddedServerOptions;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #requests: Partial<Record<Request['type'], number>> = {};
  readonly #counts = { accepted: 0, refused: 0, stalled: 0, hellos: 0, bytesRead: 0, bytesWritten: 0 };
  #lastHello: HelloSeen | undefined;
  #capabilities: readonly string[] | undefined;
  #gate: { readonly opened: Promise<void>; readonly open: () => void } | undefined;
  #stopped: Promise<void> | undefined;

  /** Listens when the promise resolves. Removes an existing socket file first, as the real one does. */
  static async start(options: EmbeddedServerOptions): Promise<EmbeddedServer> {
    const server = new EmbeddedServer(options);
    rmSync(options.socketPath, { force: true });
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', reject);
      server.#server.listen(options.socketPath, resolve);
    });
    return server;
  }

  private constructor(options: EmbeddedServerOptions) {
    this.#options = options;
    this.#capabilities = options.capabilities;
    this.socketPath = options.socketPath;
    const connections = options.connections ?? (options.epoch === 3 ? Infinity : MAX_CONNECTIONS);
    const host = this.#host();
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      this.#counts.accepted += 1;
      if (this.#connections.size >= connections) {
        this.#counts.refused += 1;
        socket.destroy();
      } else this.#connections.add(new Connection(socket, host));
    });
  }

  /** Number of live connections, which count towards the limit. */
  connections(): number {
    return this.#connections.size;
  }

  stats(): EmbeddedServerStats {
    return { ...this.#counts, lastHello: this.#lastHello, requests: { ...this.#requests } };
  }

  /** Sends no answer until `release`; requests in the meantime wait. */
  hold(): void {
    if (this.#gate !== undefined) return;
    let open: () => void = () => undefined;
    const opened = new Promise<void>((resolve) => (open = resolve));
    this.#gate = { opened, open };
  }

  release(): void {
    this.#gate?.open();
    this.#gate = undefined;
  }

  /** Applies from the next Hello on; undefined: those of a current server. */
  setCapabilities(capabilities: readonly string[] | undefined): void {
    this.#capabilities = capabilities;
  }

  /** Ends every connection at once; the server keeps running. */
  dropAll(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  /** Ends every connection and removes the socket. Calling twice is safe. */
  stop(): Promise<void> {
    this.#stopped ??= new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.release();
      this.dropAll();
    });
    return this.#stopped;
  }

  #host(): ConnectionHost {
    const { epoch, principalId, handshakeTimeoutMs, writeLimitMs } = this.#options;
    return {
      epochs: epoch === 'both' ? [3, 4] : [epoch],
      handshakeTimeoutMs: handshakeTimeoutMs ?? 5000,
      writeLimitMs: (spoken) => writeLimitMs ?? (spoken === 3 ? undefined : WRITE_LIMIT_MS),
      principalId,
      contract: (spoken) => {
        const contract = defaultContract(spoken);
        return this.#capabilities === undefined
          ? contract
          : { ...contract, capabilities: this.#capabilities };
      },
      gate: () => this.#gate?.opened ?? Promise.resolve(),
      onHello: (hello) => {
        this.#counts.hellos += 1;
        this.#lastHello = hello;
      },
      onRequest: ({ type }) => {
        this.#requests[type] = (this.#requests[type] ?? 0) + 1;
      },
      onStalled: () => (this.#counts.stalled += 1),
      onClosed: (connection) => {
        if (!this.#connections.delete(connection)) return;
        this.#counts.bytesRead += connection.bytesRead;
        this.#counts.bytesWritten += connection.bytesWritten;
      },
      stop: () => void this.stop(),
    };
  }
}
