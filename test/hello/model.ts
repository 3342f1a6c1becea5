// A model of a server behind a gateway that bounds its connections, and the result that protocol detection must have with it.
import { equal, ok } from 'node:assert/strict';
import { duplexPair, type Duplex } from 'node:stream';
import fc from 'fast-check';
import { Deadline } from '../../daemon/base/async/deadline.ts';
import { Failure } from '../../daemon/base/failure.ts';
import { stagesFor, type Candidate } from '../../daemon/hello/candidates.ts';
import { detectProtocol, type Detected } from '../../daemon/hello/detection.ts';
import type { Greeting } from '../../daemon/hello/hello-cache.ts';
import { endGracefully } from '../../daemon/transport/end.ts';
import { FrameReader } from '../../daemon/bmux-ipc/frame.ts';
import { decodeEnvelope, defaultContract, encodeResponseFrame } from '../../daemon/bmux-ipc/ipc.ts';
import type { Compression, Epoch } from '../../daemon/bmux-ipc/epoch.ts';
import type { ResolvedTarget } from '../../daemon/engine-protocol/plan.ts';
import { waitFor } from '../real/child.ts';

/** The server, the network to it, and what the caller knows and wants. */
export interface Case {
  readonly epochs: readonly Epoch[];
  readonly compression: Compression;
  /** Connections that the server accepts at once. */
  readonly connections: number;
  /** What happens to a Hello in the wrong compression: no answer while the connection is held, or the end of the stream. */
  readonly wrongMode: 'silent' | 'ended';
  /** Latency in ms in each direction, by dial. */
  readonly delays: readonly number[];
  readonly local: boolean;
  readonly stated: Compression | undefined;
  readonly known: Candidate | undefined;
  readonly wanted: Epoch | undefined;
}

const BUDGET_MS = 4000;
const epoch = fc.constantFrom<Epoch[]>(3, 4);
const compression = fc.constantFrom<Compression[]>('zstd', 'none');
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined });

const anyCase: fc.Arbitrary<Case> = fc.record({
  epochs: fc.constantFrom<(readonly Epoch[])[]>([3], [4], [3, 4]),
  compression,
  connections: fc.constantFrom(0, 1, 1, 2, 3, 64),
  wrongMode: fc.constantFrom<('silent' | 'ended')[]>('silent', 'ended'),
  delays: fc.array(fc.nat(8), { minLength: 4, maxLength: 4 }),
  local: fc.boolean(),
  stated: maybe(compression),
  known: maybe(fc.record({ epoch, compression })),
  wanted: maybe(epoch),
});

class Server {
  readonly #case: Case;
  held = 0;
  dials = 0;
  /** Streams that were cut instead of ended. */
  cut = 0;

  constructor(what: Case) {
    this.#case = what;
  }

  async open(candidate: Candidate): Promise<Duplex> {
    const delay = this.#case.delays[this.dials++ % 4] ?? 0;
    await pause(delay);
    const [near, far] = duplexPair();
    far.on('error', () => undefined);
    if (this.held >= this.#case.connections) {
      far.resume();
      far.end();
      return near;
    }
    this.held += 1;
    far.once('close', () => {
      this.held -= 1;
      if (!far.readableEnded) this.cut += 1;
    });
    // A server closes the connection when the client has ended its side; a gateway passes the end on.
    far.once('end', () => {
      if (!far.writableEnded) far.end();
    });
    const reader = new FrameReader();
    far.on('data', (chunk: Buffer) => {
      reader.push(chunk);
      const frame = reader.next();
      if (frame !== undefined) void this.#answer(far, candidate, decodeEnvelope(frame).version, delay);
    });
    return near;
  }

  async #answer(far: Duplex, candidate: Candidate, version: number, delay: number): Promise<void> {
    await pause(delay);
    if (far.writableEnded) return;
    const { compression: mode, epochs, wrongMode } = this.#case;
    if (candidate.compression !== mode) {
      if (wrongMode === 'ended') far.end();
      return;
    }
    const spoken = epochs.find((one) => one === version);
    if (spoken === undefined) far.end();
    else {
      const { capabilities } = defaultContract(spoken);
      const negotiated = { wireEpoch: spoken, revision: 1, capabilities: [...capabilities] };
      far.write(encodeResponseFrame(spoken, 1n, { type: 'hello_negotiated', negotiated }));
    }
  }
}

function pause(ms: number): Promise<void> {
  return ms === 0 ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, ms));
}

function targetOf(what: Case): ResolvedTarget {
  const other: Compression = what.stated === 'none' ? 'zstd' : 'none';
  return {
    label: 'prod',
    route: what.local
      ? { transport: 'local', socketPath: '/nowhere' }
      : { transport: 'tls', host: 'prod', port: 443, serverName: 'prod' },
    compression: what.local ? ['none'] : [what.stated ?? 'zstd', other],
    compressionStated: what.stated !== undefined,
    connectTimeoutMs: BUDGET_MS,
    warnings: [],
  };
}

const greeting = (epoch: Epoch): Greeting => ({
  contract: defaultContract(epoch),
  clientName: 'model',
  principalId: 'ebbce66c-743f-4b20-a1d9-2647d1ba8d3a',
});

/** Runs protocol detection on one case and checks the result. */
async function runCase(drawn: Case): Promise<void> {
  // A local server never compresses. A server of both epochs, which does not exist outside of tests, has no bound.
  const what: Case = {
    ...drawn,
    ...(drawn.local ? { compression: 'none' } : {}),
    ...(drawn.epochs.length > 1 ? { connections: 64 } : {}),
  };
  const server = new Server(what);
  const ends: Promise<void>[] = [];
  const subject = { label: 'prod', runtime: { name: 'default', socket: '/s' }, mayWantAuth: false };
  let won: Detected | undefined;
  let failure: Failure | undefined;
  const since = performance.now();
  try {
    won = await detectProtocol({
      stages: stagesFor(targetOf(what), what.known, what.wanted),
      wanted: what.wanted,
      deadline: new Deadline(BUDGET_MS),
      signal: new AbortController().signal,
      subject,
      opener: { open: async (candidate) => ({ stream: await server.open(candidate) }) },
      greetings: { 3: greeting(3), 4: greeting(4) },
      ends: {
        keep: () => undefined,
        end: (stream) => {
          const ended = endGracefully(stream, 1000);
          ends.push(ended);
          return ended;
        },
      },
    });
  } catch (error) {
    ok(error instanceof Failure, `not a failure: ${String(error)}`);
    failure = error;
  }
  const took = performance.now() - since;
  ok(took < BUDGET_MS + 5000, `${String(Math.round(took))} ms`);
  const speaks = what.wanted === undefined || what.epochs.includes(what.wanted);
  if (what.connections === 0) equal(failure?.code, 'connection_lost');
  else if (!speaks) equal(failure?.code, 'wire_epoch_mismatch');
  else {
    equal(failure?.code, undefined);
    equal(won?.candidate.compression, what.compression);
    ok(won !== undefined && (what.wanted ?? won.candidate.epoch) === won.candidate.epoch);
    ok(what.epochs.includes(won.candidate.epoch));
    equal(won.stream.destroyed, false, 'the stream of the result is open');
  }
  // All other streams are ended gracefully.
  await waitFor('the other streams to end', () => server.held === (won === undefined ? 0 : 1));
  if (won !== undefined) await endGracefully(won.stream, 1000);
  await Promise.all(ends);
  await waitFor('the stream of the result to end', () => server.held === 0);
  equal(server.cut, 0, 'no stream is cut');
}

/**
 * A server with a free connection is reached in its own epoch and compression. What was cached or stated, and how many connections the wrong
 * candidates take, does not change that. A caller of another epoch gets `wire_epoch_mismatch`; a full server gives `connection_lost`.
 * `runs`: number of cases.
 */
export async function detectionFindsWhatAnswers(runs: number): Promise<void> {
  // A case mostly waits, so many cases run concurrently.
  const side = Math.min(runs, 50);
  const property = fc.asyncProperty(
    fc.array(anyCase, { minLength: side, maxLength: side }),
    async (cases) => {
      await Promise.all(
        cases.map((one) =>
          runCase(one).catch((error: unknown) => {
            throw new Error(`${JSON.stringify(one)}: ${String(error)}`, { cause: error });
          }),
        ),
      );
    },
  );
  await fc.assert(property, {
    numRuns: Math.ceil(runs / side),
    endOnFailure: true,
    // Reports the case that failed, without the cases that ran at the same time.
    asyncReporter: async ({ failed, seed, errorInstance }) => {
      if (failed) throw new Error(`seed ${String(seed)}: ${String(errorInstance)}`, { cause: errorInstance });
    },
  });
}
