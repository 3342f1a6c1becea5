// A daemon with embedded servers behind every transport, and streams that carry numbered bytes both ways.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { StreamInfo } from '../../daemon/api/answers.ts';
import { startBmuxd, type Bmuxd, type Sandbox } from '../daemon/bmuxd.ts';
import { launchEmbedded, type Embedded } from '../embedded/launch.ts';
import { pattern, PatternCheck } from '../embedded/traffic.ts';
import { Incoming, rawModeFrame, requestHead } from '../streams/requests.ts';
import { realRelay, startRelay, waitFor } from '../real/index.ts';
import { sleep } from '../../daemon/base/async/sleep.ts';

export interface World {
  readonly bmuxd: Bmuxd;
  /** The server behind `local`, `tls` and `iroh`. */
  readonly server: Embedded;
  /** All servers: the one that is reached through a relay, too. */
  readonly servers: readonly Embedded[];
  /** Targets of bmux.toml that can be reached; `relay` only where the real relay is. */
  readonly targets: readonly string[];
  /** Waits until no server holds a connection. */
  nothingHeld(): Promise<void>;
}

/** A test, or what takes its place in a soak. */
export interface WithTeardown {
  teardown(end: () => unknown): unknown;
}

/** ms for which a client may not read. A real server waits 5 s: on a busy machine it ended streams whose bytes these tests count. */
const WRITE_LIMIT_MS = 120_000;

/** Ends with the test. No spares: they would hold connections. */
export async function startWorld(
  t: WithTeardown,
  options: {
    settings?: string;
    relay?: boolean;
    program?: string;
    isActivated?: boolean;
    /** ms that the servers wait for a Hello. */
    handshakeTimeoutMs?: number;
  } = {},
): Promise<World> {
  const relay = options.relay === true && realRelay() !== undefined ? await startRelay() : undefined;
  const relays = relay === undefined ? '"disabled"' : JSON.stringify([relay.url]);
  const bmuxd = await startBmuxd({
    settings: `warmth.max_connections = 0\niroh.relays = ${relays}\n${options.settings ?? ''}`,
    ...(options.program === undefined ? {} : { program: options.program }),
    isActivated: options.isActivated === true,
  });
  const server = await launchEmbedded({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    // A gateway that compresses keeps a Hello that does not until this limit: a short one gives connections back soon.
    server: {
      epoch: 4,
      handshakeTimeoutMs: options.handshakeTimeoutMs ?? 1500,
      writeLimitMs: WRITE_LIMIT_MS,
    },
    tls: { compression: 'zstd' },
    iroh: { relays: 'disabled', compression: 'zstd' },
  });
  const far =
    relay === undefined
      ? undefined
      : await launchEmbedded({
          socketPath: join(bmuxd.folder, 'far.sock'),
          server: { epoch: 4, writeLimitMs: WRITE_LIMIT_MS },
          iroh: { relays: [relay.url], compression: 'none' },
        });
  const servers = far === undefined ? [server] : [server, far];
  t.teardown(async () => {
    await bmuxd.stop();
    for (const one of servers) await one.stop();
    await relay?.stop();
  });
  const caFile = join(bmuxd.folder, 'ca.pem');
  await writeFile(caFile, server.tls?.certPem ?? '');
  const { port = 0 } = server.tls ?? {};
  const { endpointId = '', address = '' } = server.iroh ?? {};
  const lines = [
    `[connections.targets.tls]\ntransport = "tls"\nhost = "127.0.0.1"\nport = ${port}\nserver_name = "localhost"\nca_file = ${JSON.stringify(caFile)}`,
    `[connections.targets.iroh]\ntransport = "iroh"\nendpoint_id = "${endpointId}"\niroh_ip_addr = "${address}"`,
  ];
  if (far?.iroh !== undefined && relay !== undefined) {
    lines.push(
      `[connections.targets.relay]\ntransport = "iroh"\nendpoint_id = "${far.iroh.endpointId}"\nrelay_url = "${relay.url}"`,
    );
  }
  await bmuxd.configure('bmux.toml', `${lines.join('\n')}\n`);
  return {
    bmuxd,
    server,
    servers,
    targets: ['local', 'tls', 'iroh', ...(far === undefined ? [] : ['relay'])],
    nothingHeld: async () => {
      for (const one of servers)
        await waitFor('the connections to come back', async () => (await one.status()).connections === 0);
    },
  };
}

/** A stream on which the server gives back what it gets. */
export class Talk {
  readonly target: string;
  readonly id: string;
  readonly incoming: Incoming;
  readonly check = new PatternCheck();
  sent = 0;
  #talking = true;
  #spoken: Promise<void> | undefined;

  static async open(bmuxd: Sandbox, target: string): Promise<Talk> {
    const incoming = new Incoming(bmuxd.streamsPath);
    incoming.socket.write(requestHead(bmuxd, { target }));
    incoming.socket.write(rawModeFrame({ type: 'echo' }));
    const { status, head } = await incoming.answer();
    if (status !== 101) throw new Error(`${target}: ${head} ${(await incoming.toEnd()).toString()}`);
    await incoming.frame();
    const info: unknown = JSON.parse(/^bmux-stream: (.*)$/im.exec(head)?.[1] ?? '{}');
    return new Talk(target, incoming, (info as StreamInfo).id);
  }

  private constructor(target: string, incoming: Incoming, id: string) {
    this.target = target;
    this.id = id;
    this.incoming = incoming;
    // As every client of bmux does.
    incoming.socket.once('end', () => incoming.socket.end());
  }

  get socket(): Duplex {
    return this.incoming.socket;
  }

  /** Sends numbered bytes, and compares what comes, until told to be quiet. */
  start(everyMs = 10): void {
    this.incoming.takeAll((chunk) => this.check.push(chunk));
    this.#spoken = (async () => {
      while (this.#talking && !this.socket.destroyed) {
        const piece = pattern(this.sent, 4000);
        this.sent += piece.length;
        await new Promise<void>((resolve) => this.socket.write(piece, () => resolve()));
        await sleep(everyMs);
      }
    })();
  }

  /** Says no more, and waits until everything has come back. Rejects when that does not happen. */
  async quiet(): Promise<void> {
    this.#talking = false;
    await this.#spoken;
    await waitFor(`${this.target}: ${this.sent} bytes to come back`, () => this.check.count >= this.sent);
    if (this.check.badAt !== undefined || this.check.count !== this.sent)
      throw new Error(
        `${this.target}: ${this.check.count} of ${this.sent} bytes, wrong at ${this.check.badAt}`,
      );
  }

  /** Ends it and waits for the server's end. */
  async end(): Promise<void> {
    this.socket.end();
    await waitFor(`${this.target}: the end`, () => this.incoming.ended);
  }
}
