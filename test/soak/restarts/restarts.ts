// Property: restarts of every kind, under live streams with numbered bytes and clients that come again and again, lose nothing.
import { spawn } from 'node:child_process';
import fc from 'fast-check';
import { packageVersion } from '../../../daemon/base/version.ts';
import { isRunning } from '../../../daemon/base/process/identity.ts';
import type { Health } from '../../../daemon/api/answers.ts';
import { packageCopy } from '../../daemon/package-copy.ts';
import { TestClient } from '../../embedded/client.ts';
import { startWorld, Talk, type World } from '../../engine/world.ts';
import { waitFor } from '../../real/index.ts';
import { connected, targetSocketIs, targetSocketPath } from '../../target-sockets/target-socket.ts';
import type { Started } from '../soaks.ts';
import { bareConnect, Loop } from './loops.ts';

/** Live streams in a full soak and in a short one, of all targets together. */
const STREAMS = { full: 50, short: 8 } as const;
/** Restarts from which a soak is a full one. */
const FULL = 20;
/** ms that a wait may take on a busy machine. */
const PATIENCE_MS = 60_000;
/** ms between two pieces of a stream. */
const EVERY_MS = 100;

const KINDS = ['restart', 'replace', 'kill', 'term', 'upgrade'] as const;
type Kind = (typeof KINDS)[number];

/** Error: a restart was noticed. */
class Noticed extends Error {
  override readonly name = 'restart_noticed';
}

interface Site {
  readonly world: World;
  readonly program: string;
  readonly setVersion: (to: string) => Promise<void>;
}

/** `restarts`: the number of all. */
export async function startRestarts(restarts: number): Promise<Started> {
  const ends: (() => unknown)[] = [];
  const ending = { teardown: (end: () => unknown) => ends.push(end) };
  const stop = async (): Promise<void> => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  try {
    const { program, setVersion } = await packageCopy(ending);
    const world = await startWorld(ending, { relay: true, program });
    return await start({ world, program, setVersion }, { restarts, stop });
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(
  site: Site,
  { restarts, stop }: { readonly restarts: number; readonly stop: () => Promise<void> },
): Promise<Started> {
  const { bmuxd, targets } = site.world;
  const isFull = restarts >= FULL;
  const path = targetSocketPath(bmuxd, 'tls');
  await targetSocketIs(true, path);
  const count = isFull ? STREAMS.full : STREAMS.short;
  const talks: Talk[] = [];
  // One after the other: the server waits only a short time for a Hello.
  for (let at = 0; at < count; at += 1)
    talks.push(await Talk.open(bmuxd, targets[at % targets.length] ?? 'local'));
  for (const talk of talks) talk.start(EVERY_MS);
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
  ];
  const bare = new Loop('bare connect', () => bareConnect(bmuxd.socketPath));
  let former = bmuxd.pid;
  const seed = Date.now() % 1_000_000;
  const kinds = fc.sample(fc.constantFrom(...KINDS), { seed, numRuns: Math.max(restarts, KINDS.length) });
  // Each kind at least once.
  kinds.splice(0, KINDS.length, ...KINDS);
  let version = 0;
  const failures = (): string[] => [...loops.flatMap((loop) => loop.failures), ...bareFailures];
  const bareFailures: string[] = [];
  return {
    run: async (more) => {
      for (let done = 0; done < more; done += 1) {
        const kind = kinds.shift() ?? 'restart';
        const [before, came] = [bare.failures.length, loops.map((loop) => loop.count)];
        if (kind === 'upgrade') await site.setVersion(`${packageVersion()}-next.${String((version += 1))}`);
        former = await restarted(site, kind, former);
        const met = bare.failures.slice(before);
        // A daemon that was ended is away until the next one starts.
        if (kind !== 'kill' && kind !== 'term') bareFailures.push(...met.map((text) => `${kind}: ${text}`));
        await waitFor(
          'clients of every loop',
          () => loops.every((loop, at) => loop.failures.length > 0 || loop.count > (came[at] ?? 0) + 5),
          PATIENCE_MS,
        );
        if (isFull)
          process.stderr.write(
            `${kind}: ${loops.map((loop) => `${loop.name} ${loop.longestOfLate().toFixed(0)} ms`).join(', ')}\n`,
          );
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

/** Restarts in this way, and resolves with the pid of the next control process when it is ready and the former one has left. */
async function restarted({ world: { bmuxd }, program }: Site, kind: Kind, former: number): Promise<number> {
  if (kind === 'replace')
    spawn(process.execPath, [program, 'run', '--replace', '--log-file', `${bmuxd.folder}/replaced.log`], {
      env: { ...bmuxd.env },
      detached: true,
      stdio: 'ignore',
    }).unref();
  else {
    if (kind === 'kill' || kind === 'term') {
      process.kill(former, kind === 'kill' ? 'SIGKILL' : 'SIGTERM');
      await waitFor('control to end', () => !isRunning({ pid: former }));
    }
    const { status, stderr } = await bmuxd.bmuxd([
      kind === 'restart' || kind === 'upgrade' ? 'restart' : 'start',
    ]);
    if (status !== 0) throw new Noticed(`${kind}: ${stderr}`);
  }
  await waitFor('the former one to leave', () => !isRunning({ pid: former }), PATIENCE_MS);
  let pid = former;
  await waitFor(
    'the next one to answer',
    async () => {
      const health = await bmuxd.http('GET', '/v1/health').catch(() => undefined);
      pid = (health?.body as Health | undefined)?.pid ?? former;
      return pid !== former;
    },
    PATIENCE_MS,
  );
  return pid;
}
