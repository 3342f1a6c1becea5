// Upstreams over scripted streams, with a fake clock. Each server answers Hello and Ping.
import { duplexPair, type Duplex } from 'node:stream';
import { pino } from 'pino';
import type { Test } from 'tap';
import { FrameReader } from '../../../daemon/bmux-ipc/frame.ts';
import { decodeEnvelope, decodeRequest, encodeResponseFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import type { UpstreamRow } from '../../../daemon/api/answers.ts';
import { defaultSettings, type Settings } from '../../../daemon/config/settings/table.ts';
import { GracefulEnds, type TransportStream } from '../../../daemon/engine/upstream/transports.ts';
import { Upstreams } from '../../../daemon/engine/upstream/upstreams.ts';
import type { Plan, Route } from '../../../daemon/engine-protocol/plan.ts';
import { fail } from '../../../daemon/errors/fail.ts';
import type { Candidate } from '../../../daemon/hello/candidates.ts';
import { ProtocolEntry } from '../../../daemon/hello/protocol-cache.ts';
import { IrohPool } from '../../../daemon/iroh/pool.ts';
import { SshPool } from '../../../daemon/transport/ssh/pool.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';
import { NO_ENGINE } from '../../hello/cold.ts';
import { planFor } from '../../hello/opener.ts';
import { waitFor } from '../../real/child.ts';

/** A plan for the TLS target `target` at `host`. */
export function planTo(host: string, target = 'prod', context = 'c1'): Plan {
  const route: Route = { transport: 'tls', host, port: 443, serverName: host };
  return planFor(route, {
    destination: { label: target, context, compression: ['none'], compressionStated: true },
  });
}

export class UpstreamRig {
  readonly clock = new FakeClock();
  readonly events: string[] = [];
  /** Hosts that were dialled, in order. */
  readonly dials: string[] = [];
  /** The server's ends of the streams that were opened. */
  readonly far: Duplex[] = [];
  /** When true, dials of the transport fail. */
  fails = false;
  /** Revision that the servers negotiate. */
  revision = 1;
  settings: Settings = { ...defaultSettings(), targets: { prod: { spares: 1 } } };
  readonly upstreams: Upstreams;

  constructor(t: Test) {
    const iroh = new IrohPool({ relays: () => 'disabled' });
    const ssh = new SshPool({ ...NO_ENGINE, env: {}, event: () => undefined, warmth: () => 'auto' });
    const ends = new GracefulEnds();
    // The protocol of all servers is in the protocol cache, so a first contact takes one dial.
    const known: Candidate = { epoch: 4, compression: 'none' };
    const protocolCache = { get: () => known, record: () => undefined };
    this.upstreams = new Upstreams({
      transports: {
        ends,
        open: (route) => this.#open(route),
        trustOf: () => Promise.resolve('trusted'),
        irohHost: (options) => iroh.host(options),
        ssh,
        markStale: () => undefined,
        readAgain: () => undefined,
        close: async () => {
          await ends.over();
          await Promise.all([iroh.close(), ssh.close()]);
        },
      },
      protocolCache: {
        entry: (address) => new ProtocolEntry(protocolCache, address),
        flushed: () => Promise.resolve(),
      },
      settings: () => this.settings,
      log: pino({ level: 'silent' }),
      event: ({ type }) => this.events.push(type),
      ask: () => false,
      clock: this.clock,
    });
    t.teardown(() => this.upstreams.close());
  }

  async #open(route: Route): Promise<TransportStream> {
    await Promise.resolve();
    if (route.transport !== 'tls') throw new Error('only TLS here');
    this.dials.push(route.host);
    if (this.fails) throw fail('tls_unreachable', { label: 'prod', host: route.host, port: route.port });
    const [stream, far] = duplexPair();
    this.#answer(far);
    this.far.push(far);
    return { stream, warm: false };
  }

  #answer(far: Duplex): void {
    const reader = new FrameReader();
    far.on('error', () => undefined);
    far.on('end', () => far.end());
    // The answer comes later than the write, as over a network.
    const answer = (chunk: Buffer): void => {
      reader.push(chunk);
      for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
        const { version, requestId, payload } = decodeEnvelope(frame);
        if (version !== 4) {
          far.end();
          return;
        }
        const request = decodeRequest(4, payload);
        if (request.type === 'ping') far.write(encodeResponseFrame(4, requestId, { type: 'pong' }));
        if (request.type !== 'hello') continue;
        const { capabilities } = request.contract;
        const negotiated = {
          wireEpoch: 4 as const,
          revision: this.revision,
          capabilities: [...capabilities],
        };
        far.write(encodeResponseFrame(4, requestId, { type: 'hello_negotiated', negotiated }));
      }
    };
    far.on('data', (chunk: Buffer) => setImmediate(answer, chunk));
  }

  /** Opens the stream of the plan as the engine does. It is live until `end` is called. */
  async open(plan: Plan): Promise<{ readonly stream: Duplex; readonly end: () => void }> {
    const { destination } = plan;
    const opened = await this.upstreams
      .for(destination)
      .open(plan, new AbortController().signal)
      .catch((error: unknown) => {
        this.upstreams.for(destination).failed(destination, fail('tls_unreachable', {}).data);
        throw error;
      });
    const upstream = this.upstreams.for(destination);
    upstream.succeeded(destination, opened.candidate);
    let over: () => void = () => undefined;
    upstream.countStream(destination, new Promise<void>((resolve) => (over = resolve)));
    const { stream } = opened;
    stream.on('error', () => undefined).resume();
    return {
      stream,
      end: () => {
        stream.end();
        over();
      },
    };
  }

  row(host: string): UpstreamRow | undefined {
    return this.upstreams.rows().find(({ address }) => address === `tls:${host}:443`);
  }

  /** Waits with the real clock until `isRight` is true for the row of `host`. */
  async until(host: string, what: string, isRight: (row: UpstreamRow | undefined) => boolean): Promise<void> {
    await waitFor(what, () => isRight(this.row(host)));
  }
}
