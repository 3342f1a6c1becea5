// The rounds of the endurance soak: the requests and failures of each round, and the checks after it.
import { setTimeout } from 'node:timers/promises';
import type { Status } from '../../../daemon/api/answers.ts';
import { waitFor } from '../../real/index.ts';
import { LIMIT_MS, LIVE_LIMIT_MS, WAYS, type Way } from './requests.ts';
import type { FarGateway } from './far-gateway.ts';
import type { FarGateways } from './far-gateways.ts';
import { restartGateway, type Away, type Control } from './mishaps.ts';
import { wrongRows } from './rows.ts';
import type { Steady } from './steady.ts';
import { judge, type Failed } from './result.ts';

/** Interval between two requests to a target, ms. */
const ROUND_MS = 1000;
/** Average number of rounds per restart of a gateway. */
const RESTART_ROUNDS = 6;
/**
 * The round of the first restart, and the length of a run with only this restart. It restarts the first gateway, a TLS one: the end of a
 * killed iroh gateway is noticed only when QUIC gives up. A short run would wait for that.
 */
const FIRST_RESTART = 2;
const FEW_ROUNDS = 5;
/** Longest time that a gateway is away, ms; every other one returns at once. */
const AWAY_MS = 4000;
/** Number of rounds after which all requests pause and connections are counted. */
const COUNT_ROUNDS = 60;
/** The real bmux sends requests to every target once in this many rounds. */
const BMUX_ROUNDS = 10;
/** Time until nothing is left of former connections, ms: QUIC gives up a dead path after 30 s. */
const QUIET_MS = 45_000;
/** Used in turn. */
const TURNS: readonly Way[] = [
  'control socket',
  'target socket',
  'control socket, once',
  'target socket, once',
];

export interface Site {
  readonly gateway: FarGateway;
  readonly away: Away[];
  /** Its current and former names in the daemon's texts. */
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
  /** Control is restarted once in this many rounds. */
  readonly controlRounds: number;
}

export class Rounds {
  readonly #world: World;
  readonly #wrong: string[] = [];
  readonly #under = new Set<Promise<void>>();
  #round = 0;
  /** Since when requests are sent continuously, performance.now(). */
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

  /** Ends all requests and waits for them. */
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

  /** Without requests there must be no stream and one row for each target. Servers must hold no more connections than the status says. */
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
