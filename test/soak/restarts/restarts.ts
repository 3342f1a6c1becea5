// Property: restarts of every kind, under live streams with numbered bytes and clients that come again and again, lose nothing.
import fc from 'fast-check';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { packageCopy } from '../../daemon/package-copy.ts';
import { TestClient } from '../../embedded/client.ts';
import { startWorld, Talk } from '../../engine/world.ts';
import { waitFor } from '../../real/index.ts';
import { connected, targetSocketIs, targetSocketPath } from '../../target-sockets/target-socket.ts';
import type { Started } from '../soaks.ts';
import { ACTIVATED_KINDS, KINDS, Noticed, PATIENCE_MS, Restarts, type Kind, type Site } from './kinds.ts';
import { bareConnect, Loop } from './loops.ts';

/** Live streams in a full soak and in a short one, of all targets together. */
const STREAMS = { full: 50, short: 8 } as const;
/** Restarts from which a soak is a full one. */
const FULL = 20;
/** ms between two pieces of a stream, for each stream: 50 pieces a second leave a machine with two CPUs time for clients and restarts. */
const EVERY_MS = 20;

interface Planned {
  readonly restarts: number;
  readonly kinds: readonly Kind[];
  readonly stop: () => Promise<void>;
}

/** `restarts`: the number of all. */
export function startRestarts(restarts: number): Promise<Started> {
  return startAll(restarts, KINDS);
}

/** The same where a service manager holds the sockets: no bare connect is refused. */
export function startActivatedRestarts(restarts: number): Promise<Started> {
  return startAll(restarts, ACTIVATED_KINDS);
}

async function startAll(restarts: number, kinds: readonly Kind[]): Promise<Started> {
  const ends: (() => unknown)[] = [];
  const ending = { teardown: (end: () => unknown) => ends.push(end) };
  const stop = async (): Promise<void> => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  try {
    const { program, setVersion } = await packageCopy(ending);
    const isActivated = kinds === ACTIVATED_KINDS;
    const handshakeTimeoutMs = LIMITS.serverHelloMs;
    const world = await startWorld(ending, { relay: true, program, isActivated, handshakeTimeoutMs });
    return await start({ world, program, setVersion }, { restarts, kinds, stop });
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(site: Site, { restarts, kinds, stop }: Planned): Promise<Started> {
  const { bmuxd, targets } = site.world;
  const isFull = restarts >= FULL;
  const path = targetSocketPath(bmuxd, 'tls');
  await targetSocketIs(true, path);
  const count = isFull ? STREAMS.full : STREAMS.short;
  const talks: Talk[] = [];
  // One after the other: the server waits only a short time for a Hello.
  for (let at = 0; at < count; at += 1)
    talks.push(await Talk.open(bmuxd, targets[at % targets.length] ?? 'local'));
  for (const talk of talks) talk.start(EVERY_MS * count);
  const pinged = async (client: TestClient): Promise<void> => {
    try {
      await client.ping();
      await client.close();
    } finally {
      client.stream.destroy();
    }
  };
  const loops = [
    new Loop('target socket', async () => {
      const client = new TestClient(await connected(path), { limitMs: PATIENCE_MS });
      await client.hello();
      await pinged(client);
    }),
    new Loop('library', async () => {
      const { stream } = await bmuxd.open({ target: 'local', timeoutMs: PATIENCE_MS });
      await pinged(new TestClient(stream, { limitMs: PATIENCE_MS }));
    }),
    new Loop('bare connect to a target socket', () => bareConnect(path)),
    new Loop('bare connect for streams', () => bareConnect(bmuxd.streamsPath)),
  ];
  const bare = new Loop('bare connect to control', () => bareConnect(bmuxd.socketPath));
  const seed = Date.now() % 1_000_000;
  const next = fc.sample(fc.constantFrom(...kinds), { seed, numRuns: Math.max(restarts, kinds.length) });
  // Each kind at least once.
  next.splice(0, kinds.length, ...kinds);
  const failures = (): string[] => [...loops.flatMap((loop) => loop.failures), ...bareFailures];
  const bareFailures: string[] = [];
  const daemon = new Restarts(site);
  return {
    run: async (more) => {
      for (let done = 0; done < more; done += 1) {
        const kind = next.shift() ?? 'restart';
        const [before, came] = [bare.failures.length, loops.map((loop) => loop.count)];
        await daemon.next(kind);
        // Without a service manager, a daemon that was ended is away until the next one starts.
        const isAway = bmuxd.passed === undefined && (kind === 'kill' || kind === 'term');
        const met = bare.failures.slice(before);
        if (!isAway) bareFailures.push(...met.map((text) => `${kind}: ${text}`));
        await waitFor(
          'clients of every loop',
          () => loops.every((loop, at) => loop.failures.length > 0 || loop.count > (came[at] ?? 0) + 5),
          PATIENCE_MS,
        );
        for (const loop of loops) loop.note(kind);
        const dead = talks.filter(({ incoming }) => incoming.ended);
        if (dead.length > 0) throw new Noticed(`seed ${String(seed)}, ${kind}: streams ended`);
        if (failures().length > 0)
          throw new Noticed(`seed ${String(seed)}, ${kind}: ${failures().slice(0, 3).join('; ')}`);
      }
    },
    pids: () => Promise.resolve([]),
    stop: async () => {
      try {
        await Promise.all([...loops, bare].map((loop) => loop.stop()));
        for (const talk of talks) await talk.quiet();
        const bytes = talks.reduce((sum, talk) => sum + talk.sent, 0);
        if (isFull)
          for (const line of [
            ...[...loops, bare].map((loop) => loop.report()),
            `${String(talks.length)} streams, ${String(bytes)} bytes each way, none lost or doubled; seed ${String(seed)}`,
          ])
            process.stderr.write(`${line}\n`);
      } finally {
        await stop();
      }
    },
  };
}
