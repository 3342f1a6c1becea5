// An iroh gateway like `bmux server gateway --host`. Each stream gets its own connection to the server; the first stream does SSH auth when
// required. Like the real one it leaves the server connection of a reset stream open.
import {
  Endpoint,
  presetMinimal,
  RelayMode,
  type Connection as IrohConnection,
  type Incoming,
} from '@number0/iroh/index.js';
import type { Duplex } from 'node:stream';
import { compressed } from '../../../daemon/compression/stream.ts';
import { gatewayCopy, type GatewayCopy } from './gateway-copy.ts';
import { byteArray, IrohDuplex } from './iroh-duplex.ts';
import { authenticateClient, type SshAccess } from './ssh-host.ts';
import { sleep } from '../../../daemon/base/async/sleep.ts';

const ALPN = Buffer.from('bmux/gateway/iroh/1');
/** Time limit to find a home relay, ms. */
const RELAY_MS = 15_000;

export interface IrohGatewayOptions {
  readonly socketPath: string;
  /** URLs of own relays, or none; public relays are never used. */
  readonly relays: 'disabled' | readonly string[];
  readonly compression: 'zstd' | 'none';
  readonly sshAuth?: SshAccess;
  /** Default `127.0.0.1:0`. */
  readonly bindAddr?: string;
  /** Ends the server connection of a stream that is reset, unlike real gateways. Default false. */
  readonly forgiving?: boolean;
}

export interface IrohGateway {
  readonly endpointId: string;
  /** `IP:PORT` for a direct path. */
  readonly address: string;
  readonly relayUrl: string | undefined;
  /** The connect URL in the format of the real one. */
  readonly url: string;
  /** Streams with an open server connection, including lost ones. */
  streams(): number;
  stats(): {
    readonly connections: number;
    readonly streams: number;
    readonly refused: number;
    readonly live: number;
  };
  setCompression(mode: 'zstd' | 'none'): void;
  /** Closes every QUIC connection at once; the gateway keeps running. */
  dropConnections(): void;
  stop(): Promise<void>;
}

export async function startIrohGateway(options: IrohGatewayOptions): Promise<IrohGateway> {
  const builder = Endpoint.builder();
  presetMinimal(builder);
  builder.relayMode(
    options.relays === 'disabled' ? RelayMode.disabled() : RelayMode.customFromUrls([...options.relays]),
  );
  builder.alpns([byteArray(ALPN)]);
  builder.bindAddr(options.bindAddr ?? '127.0.0.1:0');
  const endpoint = await builder.bind();
  const gateway = new Gateway(endpoint, options);
  const relayUrl = options.relays === 'disabled' ? undefined : await homeRelay(endpoint);
  return gateway.face(relayUrl);
}

/** Polls, because the binding's watchers abort the process. */
async function homeRelay(endpoint: Endpoint): Promise<string> {
  const until = performance.now() + RELAY_MS;
  while (performance.now() < until) {
    const url = endpoint.addr().relayUrl();
    if (url !== null) return url;
    await sleep(20);
  }
  throw new Error(`no relay within ${RELAY_MS} ms`);
}

/** References to all objects of the binding in use: garbage collection closes unreferenced ones. */
class Gateway {
  readonly #endpoint: Endpoint;
  readonly #options: IrohGatewayOptions;
  readonly #connections = new Set<IrohConnection>();
  readonly #copies = new Set<GatewayCopy>();
  readonly #stats = { connections: 0, streams: 0, refused: 0 };
  #compression: 'zstd' | 'none';
  #stopped: Promise<void> | undefined;

  constructor(endpoint: Endpoint, options: IrohGatewayOptions) {
    this.#endpoint = endpoint;
    this.#options = options;
    this.#compression = options.compression;
    void this.#acceptAll();
  }

  face(relayUrl: string | undefined): IrohGateway {
    const endpointId = this.#endpoint.id().toString();
    const address = this.#endpoint.boundSockets().find((socket) => socket.startsWith('127.')) ?? '';
    const query = [
      ...(relayUrl === undefined ? [] : [`relay=${encodeURIComponent(relayUrl)}`]),
      ...(this.#options.sshAuth === undefined ? [] : ['auth=ssh']),
      `compression=${this.#compression}`,
      `addr=${address}`,
    ];
    return {
      endpointId,
      address,
      relayUrl,
      url: `iroh://${endpointId}?${query.join('&')}`,
      streams: () => this.#copies.size,
      stats: () => ({ ...this.#stats, live: this.#connections.size }),
      setCompression: (mode) => (this.#compression = mode),
      dropConnections: () => this.#dropConnections(),
      stop: () => (this.#stopped ??= this.#stop()),
    };
  }

  async #acceptAll(): Promise<void> {
    try {
      for (
        let next = await this.#endpoint.acceptNext();
        next !== null;
        next = await this.#endpoint.acceptNext()
      )
        void this.#serve(next);
    } catch {
      // The endpoint was closed.
    }
  }

  async #serve(incoming: Incoming): Promise<void> {
    let connection: IrohConnection | undefined;
    try {
      connection = await (await incoming.accept()).connect();
      this.#connections.add(connection);
      this.#stats.connections += 1;
      const access = this.#options.sshAuth;
      if (access !== undefined) {
        const stream = new IrohDuplex(await connection.acceptBi());
        stream.on('error', () => undefined);
        try {
          await authenticateClient(stream, access);
        } catch {
          this.#stats.refused += 1;
          connection.close(0n, []);
          return;
        }
      }
      for (;;) this.#copy(new IrohDuplex(await connection.acceptBi()));
    } catch {
      // The connection has ended, or the handshake was not for this protocol.
    } finally {
      if (connection !== undefined) this.#connections.delete(connection);
    }
  }

  #copy(stream: IrohDuplex): void {
    this.#stats.streams += 1;
    const zstd = this.#compression === 'zstd';
    const remote: Duplex = zstd ? compressed(stream) : stream;
    const copy = gatewayCopy({
      remote,
      socketPath: this.#options.socketPath,
      drop: () => remote.destroy(),
      forgiving: this.#options.forgiving ?? false,
      resetEnds: !zstd,
    });
    this.#copies.add(copy);
    void copy.done.then(() => this.#copies.delete(copy));
  }

  #dropConnections(): void {
    for (const connection of this.#connections) connection.close(0n, []);
  }

  async #stop(): Promise<void> {
    for (const copy of this.#copies) copy.destroy();
    this.#dropConnections();
    await this.#endpoint.close();
  }
}
