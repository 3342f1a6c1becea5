// What control finds at its start: its paths and passed sockets, the settings, who started it, and the environment for requests that
// bring none.
import { dirname } from 'node:path';
import type { CallerEnv } from '../api/request.ts';
import { whitelisted } from '../api/caller-env.ts';
import { withoutTargetSocket } from '../api/target-socket-env.ts';
import type { Failure } from '../base/failure.ts';
import { workAfterOthers } from '../base/async/clock.ts';
import { LIMITS } from '../base/limits.ts';
import { makeLogger, type Logger } from '../base/log.ts';
import { bmuxdPaths, type BmuxdPaths, type Env } from '../base/paths.ts';
import { descriptorLimit } from '../base/process/descriptors.ts';
import { fail } from '../errors/fail.ts';
import type { ControlOptions } from './control.ts';
import { endsEngines, ownProcess } from './instance/ends-engines.ts';
import { makeRuntimeDir } from './instance/runtime-dir.ts';
import { SettingsInForce } from './instance/settings-in-force.ts';
import { serviceManager, withoutManager, type ServiceManager } from './service/service-manager.ts';
import { OwnClients } from '../sockets/own-clients.ts';
import { passedSockets, type PassedSockets } from './instance/socket-activation.ts';

/** Below this limit, the connections of a few servers may need more. Each stream takes two. */
const FEW_FILES = 256;

/** The failure of a low limit of open files, which the engines have from this process. */
export function fewFiles(limit = descriptorLimit()): Failure | undefined {
  return limit < FEW_FILES ? fail('files_few', { who: 'bmuxd', limit: String(limit) }) : undefined;
}

export interface Surroundings {
  readonly paths: BmuxdPaths;
  readonly passed: PassedSockets;
  /** For this process and its children: without the variables that are the service manager's. */
  readonly env: Env;
  readonly manager: ServiceManager;
  /** The engines end with this process. */
  readonly takesEnginesAlong: boolean;
  /** Environment and folder for requests that bring none. */
  readonly own: { readonly env: CallerEnv; readonly cwd: string };
  readonly inForce: SettingsInForce;
  readonly log: Logger;
  readonly clients: OwnClients;
}

/** Reads the settings and makes the runtime dir. Rejects with the failure of the runtime dir. */
export async function lookAround({ env, cwd, sink, logLevel, early }: ControlOptions): Promise<Surroundings> {
  workAfterOthers(LIMITS.statusLateMs);
  const paths = bmuxdPaths(env);
  const inForce = await SettingsInForce.load({ path: paths.settings, logLevel });
  const log = makeLogger({ level: inForce.level, sink, process: 'control' });
  await makeRuntimeDir(paths, log);
  early.start();
  const self = ownProcess();
  const passed = passedSockets(env, process.pid);
  return {
    paths,
    passed,
    env: withoutManager(env),
    manager: serviceManager(env, self.parent, passed.control !== undefined),
    takesEnginesAlong: endsEngines({ env, ...self }),
    // A daemon started in a shell in which `bmuxd env` was evaluated would otherwise take its own target socket for a local server.
    own: { env: whitelisted(withoutTargetSocket(env)), cwd },
    inForce,
    log,
    clients: new OwnClients({ log, folders: [paths.dir, dirname(paths.controlSocket)] }),
  };
}
