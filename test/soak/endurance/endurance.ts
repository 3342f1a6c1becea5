// Sends requests to five targets once a second, in every way there is, while gateways and control are ended and started again. No request
// fails that would succeed on a fresh connection (result.ts), the status is right (rows.ts), and no connection of a server is lost.
import { writeFile } from 'node:fs/promises';
import { makeSandbox } from '../../daemon/bmuxd.ts';
import { targetSocketEnv } from '../../target-sockets/target-socket.ts';
import { waitFor } from '../../real/index.ts';
import type { FarGateway } from './far-gateway.ts';
import { startFarGateways } from './far-gateways.ts';
import { pidsOf } from '../growth.ts';
import { Control } from './mishaps.ts';
import { Rounds, type Site } from './rounds.ts';
import { Steady } from './steady.ts';
import { engineLogOf } from './result.ts';

/** How often control is restarted in a run: its processes must live long enough for growth.ts to measure them. */
const CONTROL_RESTARTS = 3;
/** Rounds before the first restart, also in a short run. */
const FIRST_CONTROL = 3;
/** Number of requests to a target from which a run is reported. */
const REPORTED = 20;

export interface Endurance {
  /** Runs this many rounds of a second each. Rejects with the errors found. */
  run(rounds: number): Promise<void>;
  /** The processes of the daemon. */
  pids(): Promise<number[]>;
  stop(): Promise<void>;
}

/** `rounds`: the total of all runs. */
export async function startEndurance(rounds: number): Promise<Endurance> {
  const stops: (() => Promise<void> | void)[] = [];
  const stop = async (): Promise<void> => {
    for (const end of stops.splice(0).reverse()) await end();
  };
  try {
    const folders = await makeSandbox();
    stops.push(() => folders.remove());
    const far = await startFarGateways(folders.folder);
    stops.push(far.stop);
    // The daemon gets the agent too, because a client of a target socket has no other.
    const sandbox = { ...folders, env: { ...folders.env, ...far.env } };
    await writeFile(
      sandbox.env['BMUXD_CONFIG'] ?? '',
      `iroh.relays = ${far.relays}\nengine.drain_grace = 0.1\n`,
    );
    let written: Promise<void> = Promise.resolve();
    /** Writes one after the other, because two gateways may return at the same moment. */
    const configure = (): Promise<void> => {
      const write = (): Promise<void> => sandbox.configure('bmux.toml', configOf(far.gateways));
      written = written.then(write, write);
      return written;
    };
    await configure();
    const control = await Control.start(sandbox);
    let isWell = true;
    stops.push(async () => {
      await control.stop();
      // After an earlier error, only that error is reported.
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
      engineLog: engineLogOf(sandbox.env),
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

/** bmux.toml for the current gateways. */
function configOf(gateways: readonly FarGateway[]): string {
  const parts = gateways.map(({ config }) => config());
  const of = (table: string): string =>
    parts
      .filter((part) => part.table === table)
      .map(({ text }) => text)
      .join('');
  return `[connections.share_links]\n${of('links')}\n${of('targets')}`;
}
