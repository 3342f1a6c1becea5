// The engine's streams: one entry for each, from the accepted request until both sides are closed.
import type { Socket } from 'node:net';
import { asFailure, fail } from '../errors/fail.ts';
import type { BrokerEvent, StreamRow } from '../api/answers.ts';
import { Slices } from '../base/async/slices.ts';
import { nextTurn } from '../base/async/turn.ts';
import { descriptorOf } from '../base/node-internals.ts';
import { descriptorLimit, isInReserve } from '../base/process/descriptors.ts';
import { textOf, type Failure } from '../base/failure.ts';
import type { Logger } from '../base/log.ts';
import { startReading } from '../sockets/accepted-socket.ts';
import { HangUps } from './accept/hang-up.ts';
import { classOf } from '../errors/error-class.ts';
import { Incompatible } from '../hello/detection-error.ts';
import type { BufferBudget } from '../splice/buffer-budget.ts';
import { Splice } from '../splice/splice.ts';
import { askedFor, type Plan } from '../engine-protocol/plan.ts';
import { infoOf, NOTHING_THERE, withOtherRoots } from './accept/answers.ts';
import type { AcceptedClient } from './accept/client.ts';
import type { FairBound } from './accept/fair-bound.ts';
import { openAsPlanned, type Accepted } from './accept/target-socket-client.ts';
import { StreamEntry } from './stream-entry.ts';
import type { StreamEnds } from './stream-ends.ts';
import type { Tally } from './metrics/tally.ts';
import type { OpenedStream } from './upstream/dialler.ts';
import type { GracefulEnds } from './upstream/transports.ts';
import type { Upstreams } from './upstream/upstreams.ts';

export interface StreamsOptions {
  readonly upstreams: Upstreams;
  readonly ends: GracefulEnds;
  /** Where the clients learn how their streams ended. */
  readonly told: StreamEnds;
  readonly tally: Pick<Tally, 'refused' | 'nothingThere' | 'opened' | 'answered' | 'over'>;
  readonly log: Logger;
  readonly event: (event: Omit<BrokerEvent, 'atMs'>) => void;
  readonly generation: string;
  /** Limits how many streams of one server address are being opened. */
  readonly opening: FairBound;
  /** Bytes that are buffered for a client that does not read. */
  readonly clientBufferLimit: () => number;
  /** What all streams together may buffer for such clients. */
  readonly budget: BufferBudget;
  /** Called when the last stream has gone. */
  readonly onIdle: () => void;
}

export class Streams {
  readonly #options: StreamsOptions;
  readonly #entries = new Map<string, StreamEntry>();
  readonly #hangUps = new HangUps();
  #next = 1;

  constructor(options: StreamsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  rows(): StreamRow[] {
    return [...this.#entries.values()].map((entry) => entry.row(this.#options.generation));
  }

  live(): readonly Pick<StreamEntry, 'id' | 'plan'>[] {
    return [...this.#entries.values()].filter(({ splice }) => splice !== undefined);
  }

  /** Whether no further stream of this server may be asked for now. */
  isFull(address: string): boolean {
    return this.#options.opening.isFull(address);
  }

  /** Opens the plan's stream, answers the client, and joins the two. */
  add(asked: Accepted): void {
    const entry = new StreamEntry(`${this.#options.generation}-${String(this.#next++)}`, asked);
    this.#entries.set(entry.id, entry);
    entry.over = this.#serve(entry, asked)
      .catch((error: unknown) => {
        this.#over(entry, textOf(error));
        asked.client.socket.destroy();
        if (entry.opened !== undefined && entry.splice === undefined) this.#endUnused(entry.opened);
        this.#options.log.error(
          { streamId: entry.id, requestId: entry.plan.client.requestId, err: asFailure(error).data },
          'stream failed',
        );
      })
      .finally(() => {
        if (entry.splice !== undefined) this.#options.tally.over(entry.transport, entry.splice, entry.lost);
        this.#entries.delete(entry.id);
        if (this.#entries.size === 0) this.#options.onIdle();
      });
  }

  /** Ends one stream gracefully. `who` asked for it, for the log. False when no stream has this id. */
  end(id: string, who: string): boolean {
    const entry = this.#entries.get(id);
    if (entry === undefined) return false;
    entry.end(who, true);
    return true;
  }

  /** Ends all streams gracefully; resolves when the last one is over. */
  async endAll(who: string): Promise<void> {
    const entries = [...this.#entries.values()];
    for (const entry of entries) entry.end(who);
    await Promise.allSettled(entries.map((entry) => entry.over));
  }

  async #serve(entry: StreamEntry, { client, plan, open = openAsPlanned, slices }: Accepted): Promise<void> {
    const { log, upstreams, event, opening, tally } = this.#options;
    const { requestId } = plan.client;
    const target = askedFor(plan.destination);
    const leadsTo = (other: Plan): void => {
      entry.plan = other;
    };
    const context = { streamId: entry.id, requestId, target };
    client.socket.on('error', ignore);
    const { address, label } = plan.destination;
    const isOpened = opening.take(address);
    if (isOpened === undefined) {
      const failure = fail('target_busy', { count: opening.count(address), label });
      log.info({ ...context, code: failure.code }, 'refused');
      await this.#refuse(entry, client, failure);
      return;
    }
    let opened: OpenedStream;
    const stopLooking = client.mayHangUp
      ? this.#hangUps.watch(client.socket, () => {
          entry.end('its client');
        })
      : undefined;
    try {
      // Many requests come in one turn of the event loop, and to open takes milliseconds of CPU.
      await (slices ?? new Slices(address)).next();
      refuseFromReserve(client.socket);
      opened = await open(plan, upstreams, entry.signal, leadsTo, (step) => {
        entry.wait.enter(step, entry.plan.destination);
      });
    } catch (error) {
      const failure = withOtherRoots(asFailure(error), plan);
      // These failures are not the server's fault: the stream was ended on request, the client's contract is not supported, or the
      // client has no principal.
      const own =
        (error instanceof Incompatible && plan.client.contract !== undefined) ||
        'failure' in plan.client.principal;
      if (!entry.signal.aborted && !own)
        upstreams.for(entry.plan.destination).failed(entry.plan.destination, failure.data);
      const absent = plan.client.ifRunning && NOTHING_THERE.has(failure.code);
      log.info(
        { ...context, code: failure.code, causes: failure.data.causes },
        absent ? 'nothing there' : 'refused',
      );
      if (absent) {
        tally.nothingThere();
        client.refused(fail('nothing_there'));
      } else await this.#refuse(entry, client, failure);
      return;
    } finally {
      stopLooking?.();
      isOpened();
    }
    entry.opened = opened;
    const { destination } = entry.plan;
    const upstream = upstreams.for(destination);
    upstream.succeeded(destination, opened.candidate);
    // Queued before the client has its answer, so that it precedes every event that the answer leads to.
    event({ type: 'stream opened', target, requestId, streamId: entry.id });
    client.granted(infoOf(entry.id, entry.plan, opened));
    tally.opened(entry.transport, opened.warm, performance.now() - entry.wait.acceptedAt);
    const spliced = this.#join(entry, client, opened);
    upstream.countStream(destination, spliced);
    const end = await spliced;
    entry.lost = end.lost;
    log.info({ ...context, ...end }, 'stream over');
    event({
      type: 'stream over',
      target,
      requestId,
      streamId: entry.id,
      ...(end.lost === undefined ? {} : { code: 'stream_lost' }),
      detail: end.lost ?? end.why ?? end.reason,
    });
  }

  async #refuse(entry: StreamEntry, client: AcceptedClient, failure: Failure): Promise<void> {
    const { tally, event } = this.#options;
    const { client: asked, destination } = entry.plan;
    const { code, message: detail } = failure;
    const kind = classOf(failure.data);
    tally.refused(kind);
    this.#over(entry, detail);
    const told = { target: askedFor(destination), requestId: asked.requestId, code, class: kind, detail };
    event({ type: 'stream refused', ...told });
    // The event leaves at the end of this turn: before the client has its answer.
    await nextTurn();
    client.refused(failure);
  }

  /** Keeps how the stream ended, before its client sees it. */
  #over(entry: StreamEntry, lost: string | undefined, byServer = false): void {
    this.#options.told.add(entry.endRow(lost, byServer));
  }

  #endUnused({ stream }: OpenedStream): void {
    void this.#options.ends.end(stream);
  }

  #join(entry: StreamEntry, { socket, head }: AcceptedClient, opened: OpenedStream): Splice['done'] {
    const { stream: remote, warm } = opened;
    // These bytes came together with the request and precede everything that is read from now on.
    if (head.length > 0) socket.unshift(head);
    const splice = new Splice({
      client: socket,
      remote,
      clientBufferLimit: this.#options.clientBufferLimit(),
      budget: this.#options.budget,
      onEnd: (lost, byServer) => {
        this.#over(entry, lost, byServer);
      },
    });
    remote.once('data', () => {
      const ms = performance.now() - entry.wait.acceptedAt;
      this.#options.tally.answered(entry.transport, warm, ms);
    });
    startReading(socket);
    remote.resume();
    entry.join(splice);
    return splice.done;
  }
}

/** Most files that this process may open. */
const FILES = descriptorLimit();

/** Throws when the next clients could not be accepted, nor control answered. */
function refuseFromReserve(socket: Socket): void {
  const descriptor = descriptorOf(socket) ?? 0;
  if (isInReserve(descriptor, FILES))
    throw fail('files_exhausted', { why: `its streams and connections have nearly all ${String(FILES)}` });
}

function ignore(): void {
  // Before the splice handles errors, a client that is gone is detected when its answer is written.
}
