// Finds a name that the config of a caller does not have, where no daemon runs that would: none is started for it.
import { whitelisted } from '../../api/caller-env.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { SYSTEM_CLOCK } from '../../base/async/clock.ts';
import { Failure, type FailureData } from '../../base/failure.ts';
import { bmuxPaths, type Env } from '../../base/paths.ts';
import { ConfigFiles } from '../../config/bmux/config-files.ts';
import { ConfigSource } from '../../config/bmux/source.ts';
import { SteadyFiles } from '../../config/files/steady-files.ts';
import { resolveTarget } from '../../target/resolve.ts';

/** Only the daemon asks the control plane. */
const NO_LOOKUP = { timeoutMs: 1000, get: () => Promise.reject(new Error('no lookup without a daemon')) };

interface Caller {
  readonly env: Env;
  readonly cwd: string;
}

/**
 * The failure `target_unknown`, or undefined: what else is wrong is said by the daemon. It is data, because a bundle has a class `Failure` of
 * its own.
 */
export async function unknownTarget(target: string, caller: Caller): Promise<FailureData | undefined> {
  return (await unknownTargets([target], caller)).get(target);
}

/** The same for several names, `most` of which are told; the config is read once. */
export async function unknownTargets(
  targets: Iterable<string>,
  { env, cwd }: Caller,
  most = Infinity,
): Promise<ReadonlyMap<string, FailureData>> {
  const unknown = new Map<string, FailureData>();
  const caller = whitelisted(withoutTargetSocket(env));
  const paths = bmuxPaths(caller, process.platform, cwd);
  const steady = new SteadyFiles(SYSTEM_CLOCK);
  try {
    const files = new ConfigFiles(steady);
    const source = new ConfigSource({ env: caller, paths, files, cwd, daemon: env });
    const { config, problem } = await source.current({ cwd, term: caller.TERM });
    if (problem !== undefined) return unknown;
    const inputs = { env: caller, cwd, config, paths, lookup: NO_LOOKUP, refusesUnknown: true };
    for (const target of targets) {
      if (unknown.size >= most) break;
      const failure = await resolveTarget({ ...inputs, target }).then(() => undefined, asUnknown);
      if (failure !== undefined) unknown.set(target, failure);
    }
  } catch {
    // What is wrong with the config is said by the daemon.
  } finally {
    steady.close();
  }
  return unknown;
}

function asUnknown(error: unknown): FailureData | undefined {
  return error instanceof Failure && error.code === 'target_unknown' ? error.data : undefined;
}
