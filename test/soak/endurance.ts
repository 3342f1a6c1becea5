// Five targets that are asked once a second each, in every way that there is, while gateways and control are ended and started again: no request
// fails that a fresh connection would have answered (verdict.ts), the status tells the truth (rows.ts), and no site is lost.
import { writeFile } from 'node:fs/promises';
import { makeHome } from '../daemon/bmuxd.ts';
import { targetSocketEnv } from '../target-sockets/target-socket.ts';
import { waitFor } from '../real/index.ts';
import type { FarGateway } from './far-gateway.ts';
import { startFarGateways } from './far-gateways.ts';
import { pidsOf } from './growth.ts';
import { Control } from './mishaps.ts';
import { Rounds, type Site } from './rounds.ts';
import { Steady } from './steady.ts';
import { engineLogOf } from './result.ts';

/** Control is started again so many times in a run: its processes must live long enough for their growth to be seen (growth.ts). */
const CONTROL_RESTARTS = 3;
/** Rounds before the first time, also in a run of a few. */
const FIRST_CONTROL = 3;
/** Requests to a target from which on a run is worth a report. */
const REPORTED = 20;

export interface Endurance {
  /** So many rounds, a second each. Rejects with what should not have happened. */
  run(rounds: number): Promise<void>;
  /** The processes of the daemon. */
  pids(): Promise<number[]>;
  stop(): Promise<void>;
}

/** `rounds`: of all runs together. */
export async function startEndurance(rounds: number): Promise<Endurance> {
  const stops: (() => Promise<void> | void)[] = [];
  const stop = async (): Promise<void> => {
    for (const end of stops.splice(0).reverse()) await end();
  };
  try {
    const folders = await makeHome();
    stops.push(() => folders.remove());
    const far = await startFarGateways(folders.folder);
    stops.push(far.stop);
    // The agent is the daemon's own too: a client of a target socket has no other.
    const home = { ...folders, env: { ...folders.env, ...far.env } };
    await writeFile(
      home.env['BMUXD_CONFIG'] ?? '',
      `iroh.relays = ${far.relays}\nengine.drain_grace = 0.1\n`,
    );
    let written: Promise<void> = Promise.resolve();
    /** One after the other: two gateways may come back in the same moment. */
    const configure = (): Promise<void> => {
      const write = (): Promise<void> => home.configure('bmux.toml', configOf(far.gateways));
      written = written.then(write, write);
      return written;
    };
    await configure();
    const control = await Control.start(home);
    let isWell = true;
    stops.push(async () => {
      await control.stop();
      // What went wrong before is what is to be read.
      if (isWell)
        await waitFor(
          'every place to be free after bmuxd has stopped',
          async () => ((await far.held()) ?? 0) === 0,
        );
    });
    const sites: Site[] = [];
    for (const gateway of far.gateways) {
      const env = await targetSocketEnv(await control.now, gateway.target);
      const labels = new Set([gateway.target, gateway.label()]);
      const steady = new Steady({ targetSocketEnv: env });
      sites.push({ gateway, away: [], labels, targetSocketEnv: env, steady, asked: 0, failed: 0 });
    }
    stops.push(() => {
      report(sites);
    });
    const running = new Rounds({
      far,
      control,
      sites,
      configure,
      engineLog: engineLogOf(home.env),
      controlRounds: Math.max(FIRST_CONTROL, Math.ceil(rounds / (CONTROL_RESTARTS + 1))),
    });
    stops.push(() => running.quiet());
    return {
      run: (more) =>
        running.run(more).catch((error: unknown) => {
          isWell = false;
          throw error;
        }),
      pids: async () => pidsOf(await control.now),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function report(sites: readonly Site[]): void {
  for (const { gateway, asked, failed, away } of sites) {
    if (asked <= REPORTED) continue;
    const text = `${asked} requests, ${failed} failed while it was away, started again ${away.length} times`;
    process.stderr.write(`${gateway.target}: ${text}\n`);
  }
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
