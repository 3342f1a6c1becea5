// The rounds of the endurance soak: who asks in each of them, what happens meanwhile, and what must be true.
import { setTimeout } from 'node:timers/promises';
import type { Status } from '../../daemon/api/answers.ts';
import { waitFor } from '../real/index.ts';
import { LIMIT_MS, LIVE_LIMIT_MS, WAYS, type Way } from './requests.ts';
import type { FarGateway } from './far-gateway.ts';
import type { FarGateways } from './far-gateways.ts';
import { restartGateway, type Away, type Control } from './mishaps.ts';
import { wrongRows } from './rows.ts';
import type { Steady } from './steady.ts';
import { judge, type Failed } from './result.ts';

/** ms between two requests to a target. */
const ROUND_MS = 1000;
/** A gateway is started again in one round of so many, on average. */
const RESTART_ROUNDS = 6;
/**
 * The round of the first time, also in a run of a few, and the rounds with that one alone. It is the first gateway, a TLS one: the end of
 * an iroh gateway that is killed shows only when QUIC gives it up, and a short run would wait for that.
 */
const FIRST_RESTART = 2;
const FEW_ROUNDS = 5;
/** A gateway stays away for so long at most, ms; every other one comes back at once. */
const AWAY_MS = 4000;
/** Rounds after which everything stands still for a moment and sites are counted. */
const COUNT_ROUNDS = 60;
/** The real bmux asks every target in one round of so many. */
const BMUX_ROUNDS = 10;
/** ms until nothing is left of what was: QUIC gives a dead path up after 30 s. */
const QUIET_MS = 45_000;
/** In turns. */
const TURNS: readonly Way[] = [
  'control socket',
  'target socket',
  'control socket, once',
  'target socket, once',
];

export interface Site {
  readonly gateway: FarGateway;
  readonly away: Away[];
  /** What texts of the daemon call it, or have called it. */
  readonly labels: Set<string>;
  readonly targetSocketEnv: Readonly<Record<string, string>>;
  readonly steady: Steady;
  asked: number;
  failed: number;
}

export interface World {
  readonly far: FarGateways;
  readonly control: Control;
  readonly sites: readonly Site[];
  readonly configure: () => Promise<void>;
  readonly engineLog: string;
  /** Control is started again once in so many rounds. */
  readonly controlRounds: number;
}

export class Rounds {
  readonly #world: World;
  readonly #wrong: string[] = [];
  readonly #under = new Set<Promise<void>>();
  #round = 0;
  /** Since when nobody stands still, performance.now(). */
  #askedSince = 0;

  constructor(world: World) {
    this.#world = world;
  }

  async run(rounds: number): Promise<void> {
    const last = this.#round + rounds;
    this.#askedSince = performance.now();
    while (this.#round < last && this.#wrong.length === 0) {
      this.#round += 1;
      for (const site of this.#world.sites) this.#askAll(site);
      this.#mishaps();
      this.#track(this.#lookAtRows());
      await setTimeout(ROUND_MS);
      if (this.#round % COUNT_ROUNDS !== 0 && this.#round < last) continue;
      await this.quiet();
      if (this.#wrong.length === 0) await this.#noneLeaked();
      this.#askedSince = performance.now();
    }
    if (this.#wrong.length > 0) throw new Error(this.#wrong.join('\n'));
  }

  /** Nobody asks any more. */
  async quiet(): Promise<void> {
    await Promise.all(this.#world.sites.map(({ steady }) => steady.leave()));
    await Promise.all(this.#under);
  }

  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => {
        this.#wrong.push(String(error));
      })
      .finally(() => this.#under.delete(tracked));
    this.#under.add(tracked);
  }

  #askAll(site: Site): void {
    this.#track(this.#ask(site, TURNS[this.#round % TURNS.length] ?? 'target socket'));
    const isReal = site.gateway.sessions !== undefined;
    if (isReal && this.#round % BMUX_ROUNDS === 1) this.#track(this.#ask(site, 'real bmux'));
    this.#track(this.#stay(site));
  }

  async #ask(site: Site, way: Way): Promise<void> {
    const since = performance.now();
    site.asked += 1;
    let limitMs = LIMIT_MS;
    const granted = (): void => {
      limitMs = LIVE_LIMIT_MS;
    };
    try {
      await WAYS[way]({ bmuxd: this.#world.control.clients, ...site, granted });
    } catch (error) {
      await this.#judge(site, { way, error, since, limitMs });
    }
  }

  async #stay(site: Site): Promise<void> {
    const lost = await site.steady.ping();
    if (lost !== undefined)
      await this.#judge(site, { way: 'a client that stays', limitMs: LIVE_LIMIT_MS, ...lost });
  }

  async #judge(site: Site, failed: Pick<Failed, 'way' | 'error' | 'since' | 'limitMs'>): Promise<void> {
    const { gateway, away, labels } = site;
    const { control, engineLog } = this.#world;
    const { target } = gateway;
    await judge({ ...failed, target, away, labels, until: performance.now() }, control, engineLog);
    site.failed += 1;
  }

  #mishaps(): void {
    const { sites, control, configure, controlRounds } = this.#world;
    const isFirst = this.#round === FIRST_RESTART;
    const site = sites[isFirst ? 0 : Math.floor(Math.random() * sites.length)];
    const due = isFirst || (this.#round > FEW_ROUNDS && Math.random() < 1 / RESTART_ROUNDS);
    const awayMs = isFirst || Math.random() < 0.5 ? 0 : Math.random() * AWAY_MS;
    const moved = (): Promise<void> => {
      site?.labels.add(site.gateway.label());
      return configure();
    };
    if (due && site?.away.every(({ to }) => to < Infinity) === true)
      this.#track(restartGateway(site.gateway, site.away, control, moved, awayMs));
    if (this.#round % controlRounds === 0) this.#track(control.restart());
  }

  async #lookAtRows(): Promise<void> {
    const { control, sites } = this.#world;
    const status = await control.ask((bmuxd) => bmuxd.status());
    const shown = sites.map(({ gateway: { target }, away }) => ({ target, away }));
    const wrong = wrongRows(status, shown, this.#askedSince);
    if (wrong.length > 0) throw new Error(wrong.join('\n'));
  }

  /** Nobody asks: no stream, a row for each target and no more, and servers hold what the status says, and no more. */
  async #noneLeaked(): Promise<void> {
    const { control, far, sites } = this.#world;
    const bmuxd = await control.now;
    const settled = async (what: string, path: string, is: (status: Status) => boolean): Promise<void> => {
      await waitFor(what, async () => is(await bmuxd.status()), QUIET_MS).catch(async (error: unknown) => {
        throw new Error(`${String(error)}: ${JSON.stringify((await bmuxd.http('GET', path)).body)}`);
      });
    };
    await settled('all streams to be over', '/v1/streams', ({ streams }) => streams === 0);
    await settled('one engine, and one row for each target', '/v1/status', ({ engines, upstreams }) => {
      const targets = new Set(upstreams.map(({ target }) => target));
      return engines.length === 1 && upstreams.length === targets.size && targets.size <= sites.length;
    });
    await waitFor('the servers to hold what we know of', async () => {
      const held = await far.held();
      const { upstreams } = await bmuxd.status();
      return held === undefined || held <= upstreams.reduce((sum, row) => sum + row.connections, 0);
    });
  }
}
