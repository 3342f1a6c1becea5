// One request a second to each of five targets, while their gateways are ended and started again at random: no request fails that a fresh connection
// would have answered, but one that was under way while its gateway was away; and what fails ends with a name, in time.
import { writeFile } from 'node:fs/promises';
import { Failure } from '../../client-shim/index.ts';
import { makeHome, startBmuxd, type Bmuxd, type BmuxdHome } from '../daemon/bmuxd.ts';
import { TestClient } from '../embedded/client.ts';
import { waitFor } from '../real/index.ts';
import { startFarGateways, type FarGateway, type FarGateways } from './far-gateways.ts';

/** ms between two requests to a target. */
const ROUND_MS = 1000;
/** A gateway is started again in one round of so many, on average. */
const RESTART_ROUNDS = 6;
/** Rounds after which everything stands still for a moment and places are counted. */
const COUNT_ROUNDS = 60;
/** ms that a request may take: a target's 8 s, and once more for whoever only looks and is given a fresh stream. */
const LIMIT_MS = 20_000;
/** ms that a busy machine may add to when a change of the config is in force. */
const BUSY_MS = 250;

/** Requests to a target from which on a run is worth a report. */
const REPORTED = 20;

/** A time during which a gateway was away, performance.now(). */
interface Away {
  readonly from: number;
  to: number;
}

interface Place {
  readonly gateway: FarGateway;
  readonly away: Away[];
  asked: number;
  failed: number;
}

export interface Endurance {
  readonly bmuxd: Bmuxd;
  /** So many rounds. Rejects with what should not have happened. */
  run(rounds: number): Promise<void>;
  stop(): Promise<void>;
}

export async function startEndurance(): Promise<Endurance> {
  const home = await makeHome();
  const stops = [() => home.remove()];
  const stop = async (): Promise<void> => {
    for (const end of stops.splice(0).reverse()) await end();
  };
  try {
    const far = await startFarGateways(home.folder);
    stops.push(far.stop);
    await writeFile(home.env['BMUXD_CONFIG'] ?? '', `iroh.relays = ${far.relays}\n`);
    await home.configure('bmux.toml', configOf(far.gateways));
    const bmuxd = await startBmuxd({ home });
    stops.push(() => bmuxd.stop());
    const places: Place[] = far.gateways.map((gateway) => ({ gateway, away: [], asked: 0, failed: 0 }));
    stops.push(() => {
      for (const { gateway, asked, failed, away } of places)
        if (asked > REPORTED)
          process.stderr.write(
            `${gateway.target}: ${asked} requests, ${failed} failed while it was away, started again ${away.length} times\n`,
          );
      return Promise.resolve();
    });
    return { bmuxd, run: (rounds) => run({ home, bmuxd, far, places }, rounds), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface World {
  readonly home: BmuxdHome;
  readonly bmuxd: Bmuxd;
  readonly far: FarGateways;
  readonly places: readonly Place[];
}

async function run(world: World, rounds: number): Promise<void> {
  const wrong: string[] = [];
  const under = new Set<Promise<void>>();
  const track = (work: Promise<void>): void => {
    const tracked = work
      .catch((error: unknown) => {
        wrong.push(String(error));
      })
      .finally(() => under.delete(tracked));
    under.add(tracked);
  };
  for (let round = 1; round <= rounds && wrong.length === 0; round += 1) {
    for (const place of world.places) track(ask(world, place));
    const place = world.places[Math.floor(Math.random() * world.places.length)];
    // At least one, however short the run is.
    const due = round === 2 || Math.random() < 1 / RESTART_ROUNDS;
    if (due && place?.away.every(({ to }) => to < Infinity) === true) track(restart(world, place));
    await new Promise((resolve) => setTimeout(resolve, ROUND_MS));
    if (round % COUNT_ROUNDS !== 0 && round < rounds) continue;
    await Promise.all(under);
    await noneLeaked(world);
  }
  await Promise.all(under);
  if (wrong.length > 0) throw new Error(wrong.join('\n'));
}

/** One request: a stream, a Ping and a ServerStatus answered, and its end. */
async function ask({ bmuxd, far }: World, place: Place): Promise<void> {
  const { target } = place.gateway;
  const since = performance.now();
  place.asked += 1;
  let why: string;
  try {
    const { stream, info } = await bmuxd.open({
      target,
      env: { ...bmuxd.env, ...far.env },
      timeoutMs: LIMIT_MS,
    });
    const client = new TestClient(stream, { epoch: info.epoch, limitMs: LIMIT_MS });
    await client.ping();
    await client.serverStatus();
    stream.end();
    await client.ended();
    return;
  } catch (error) {
    why = error instanceof Failure ? error.code : String(error);
  }
  const until = performance.now();
  const tookMs = Math.round(until - since);
  if (tookMs > LIMIT_MS) throw new Error(`${target}: ${why}, only after ${tookMs} ms`);
  const wasAway = place.away.some(({ from, to }) => since < to + BUSY_MS && until > from);
  if (!wasAway) throw new Error(`${target}: ${why} after ${tookMs} ms, although its gateway was there`);
  place.failed += 1;
}

/** Ends a gateway as a service manager or a crash does, starts it again, and lets its share link lead there. */
async function restart({ home, far }: World, place: Place): Promise<void> {
  const away: Away = { from: performance.now(), to: Infinity };
  place.away.push(away);
  await place.gateway.restart(Math.random() < 0.5 ? 'SIGTERM' : 'SIGKILL');
  await home.configure('bmux.toml', configOf(far.gateways));
  away.to = performance.now();
}

/** Nobody asks: servers hold what the status says, and no more. */
async function noneLeaked({ bmuxd, far }: World): Promise<void> {
  await waitFor('all streams to be over', async () => (await bmuxd.status()).streams === 0);
  await waitFor('the servers to hold what we know of', async () => {
    const held = await far.held();
    const { reached } = await bmuxd.status();
    return held === undefined || held <= reached.reduce((sum, row) => sum + row.places, 0);
  });
}

/** bmux.toml for the gateways as they are now. */
function configOf(gateways: readonly FarGateway[]): string {
  const parts = gateways.map(({ config }) => config());
  const of = (table: string): string =>
    parts
      .filter((part) => part.table === table)
      .map(({ text }) => text)
      .join('');
  return `[connections.share_links]\n${of('links')}\n${of('targets')}`;
}
