// The list of soaks: every property of the project by name, its number of inputs, and the processes it needs.
import { join } from 'node:path';
import * as config from '../config/bmux/properties.ts';
import * as control from '../control/properties.ts';
import { makeSandbox, startBmuxd, type Bmuxd, type Sandbox } from '../daemon/bmuxd.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import * as firstFrame from '../engine/accept/first-frame-properties.ts';
import { startHostile, startHostileHosts } from './hostile/hostile.ts';
import { startIdle } from './idle.ts';
import { abortsAreMended } from './restarts/aborts.ts';
import { startActivatedRestarts, startRestarts } from './restarts/restarts.ts';
import { startEndurance } from './endurance/endurance.ts';
import { pidsOf } from './growth.ts';
import { COUNT, startMatrix } from '../package/matrix.ts';
import { upgradesLoseNothing } from '../streams/upgrades.ts';
import { detectionFindsWhatAnswers } from '../hello/model.ts';
import * as optimistic from '../hello/optimistic/properties.ts';
import * as spares from '../spares/properties.ts';
import { spliceIsTransparent } from '../splice/properties.ts';
import * as request from '../request/properties.ts';
import * as target from '../target/properties.ts';
import { aHostilePeerGetsFewAttempts } from '../target/http/properties.ts';
import * as transport from '../transport/properties.ts';
import * as wire from '../bmux-ipc/properties.ts';

/** One property, ready to run. */
export interface Started {
  /** Runs `inputs` more inputs; rejects with the one that fails. */
  run(inputs: number): Promise<void> | void;
  /** Current other processes that must not grow. */
  pids(): Promise<readonly number[]>;
  stop(): Promise<void>;
}

export interface Soak {
  readonly name: string;
  /** Number of inputs in a full soak: a million where one takes microseconds. */
  readonly inputs: number;
  /** The same in `npm test`; default 20. */
  readonly grain?: number;
  /** `inputs`: the number of inputs to come. */
  start(inputs: number): Promise<Started>;
}

const MILLION = 1_000_000;

/** A property that needs no other process. */
function pure(name: string, run: (runs: number) => Promise<void> | void, inputs = MILLION): Soak {
  const started: Started = { run, pids: () => Promise.resolve([]), stop: () => Promise.resolve() };
  return { name, inputs, start: () => Promise.resolve(started) };
}

/** A daemon that cannot reach any target. */
async function alone(
  run: (bmuxd: Bmuxd, inputs: number) => Promise<void>,
  sandbox?: Sandbox,
): Promise<Started> {
  const bmuxd = await startBmuxd(sandbox === undefined ? {} : { sandbox });
  return {
    run: (inputs) => run(bmuxd, inputs),
    pids: () => pidsOf(bmuxd),
    stop: () => bmuxd.stop(),
  };
}

/** The same with an embedded server as its local target. */
async function withServer(run: (bmuxd: Bmuxd, inputs: number) => Promise<void>): Promise<Started> {
  const sandbox = await makeSandbox();
  const socketPath = join(sandbox.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock');
  const server = await launchEmbedded({ socketPath, server: { epoch: 4 } });
  const end = async (): Promise<void> => {
    await server.stop();
    await sandbox.remove();
  };
  try {
    const started = await alone(run, sandbox);
    return {
      ...started,
      stop: async () => {
        await started.stop();
        await end();
      },
    };
  } catch (error) {
    await end();
    throw error;
  }
}

/** Properties that need no daemon. */
export const PURE_SOAKS: readonly Soak[] = [
  ...Object.entries(wire.PROPERTIES).map(([name, run]) => pure(`wire.${name}`, run)),
  pure('config.anyBytesGiveResultOrFailure', config.anyBytesGiveResultOrFailure),
  pure('config.linesAreWithinTheFile', config.linesAreWithinTheFile),
  pure('request.anyHeaderGivesRequestOrFailure', request.anyHeaderGivesRequestOrFailure),
  pure('request.headerCarriesTheRequest', request.headerCarriesTheRequest),
  pure('target.anyReferenceGivesTargetOrFailure', target.anyReferenceGivesTargetOrFailure),
  pure('target.hostAndPortComeBack', target.hostAndPortComeBack),
  pure('transport.anyLineGivesResultOrFailure', transport.anyLineGivesResultOrFailure),
  // These use streams, so an input takes milliseconds.
  pure('hello.raceReachesWhatCanBeReached', detectionFindsWhatAnswers, 20_000),
  pure('target.aHostilePeerGetsFewAttempts', aHostilePeerGetsFewAttempts, 5000),
  ...Object.entries(optimistic.PROPERTIES).map(([name, run]) => pure(`optimistic.${name}`, run, 20_000)),
  pure('splice.isTransparent', spliceIsTransparent, 10_000),
  ...Object.entries(spares.PROPERTIES).map(([name, run]) => pure(`spares.${name}`, run, 20_000)),
  ...Object.entries(firstFrame.PROPERTIES).map(([name, run]) => pure(`first-frame.${name}`, run, 20_000)),
];

/** Properties of a daemon. */
export const DAEMON_SOAKS: readonly Soak[] = [
  {
    name: 'control.anyBytesGetAnAnswer',
    inputs: MILLION,
    start: () => alone(({ socketPath }, inputs) => control.anyBytesGetAnAnswer(socketPath, inputs)),
  },
  {
    // A round takes a second: half an hour in all.
    name: 'endurance.gatewaysComeAndGo',
    inputs: 1800,
    grain: 5,
    start: (rounds) => startEndurance(rounds),
  },
  {
    // An input takes a second: a minute in all.
    name: 'hostile.serversDoNoHarm',
    inputs: 60,
    grain: 5,
    start: startHostile,
  },
  {
    name: 'hostile.irohHostsDoNoHarm',
    inputs: 60,
    // Each host is asked about once.
    grain: 2,
    start: startHostileHosts,
  },
  {
    // An input is a connection.
    name: 'idle.connectionsKeepNobodyOut',
    inputs: 10_000,
    grain: 10,
    start: startIdle,
  },
  {
    // A restart takes two seconds under its load.
    name: 'restarts.nothingNotices',
    inputs: 100,
    grain: 6,
    start: startRestarts,
  },
  {
    name: 'restarts.socketsOfAManagerStay',
    inputs: 50,
    grain: 3,
    start: startActivatedRestarts,
  },
  {
    name: 'restarts.abortsAreMended',
    inputs: 100,
    grain: 5,
    start: () => withServer(abortsAreMended),
  },
  {
    name: 'handoff.upgradesLoseNothing',
    inputs: 50_000,
    start: () => withServer((bmuxd, inputs) => upgradesLoseNothing(bmuxd, inputs)),
  },
];

export function isOfRestarts({ name }: Soak): boolean {
  return name.startsWith('restarts.');
}

/** The package under each Node and npm. `npm test` tries the one that runs it. */
const PACKAGE_SOAK: Soak = {
  name: 'package.worksWithEachNodeAndNpm',
  inputs: COUNT,
  start: async () => ({
    ...(await startMatrix((text) => process.stderr.write(`${text}\n`))),
    pids: () => Promise.resolve([]),
  }),
};

export const SOAKS: readonly Soak[] = [...PURE_SOAKS, ...DAEMON_SOAKS, PACKAGE_SOAK];
