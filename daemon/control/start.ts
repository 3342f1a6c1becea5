// The order of a start: what must be ready before the control socket is claimed, and what is opened after it.
import type { FastifyInstance } from 'fastify';
import { settledWithin } from '../base/async/deadline.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { BmuxdPaths } from '../base/paths.ts';
import { asFailure } from '../errors/fail.ts';
import type { Contexts } from './contexts/contexts.ts';
import type { Engines } from './engines/engines.ts';
import type { KeepWarm } from './engines/keep-warm.ts';
import type { Instance } from './instance/instance.ts';
import type { ClientPlans } from './planning/client-plans.ts';
import type { Reload } from './reload.ts';
import { warmLikePredecessor } from './predecessor.ts';
import { fewFiles } from './surroundings.ts';
import type { TargetSocketReconciler } from './target-sockets/reconciler.ts';

export interface StartParts {
  readonly mode: {
    /** Takes over from a daemon that runs. */
    readonly replace: boolean;
    /** Ends the start: it rejects with the reason of the signal. */
    readonly signal: AbortSignal | undefined;
  };
  readonly paths: BmuxdPaths;
  readonly version: string;
  readonly log: Logger;
  readonly app: FastifyInstance;
  readonly instance: Instance;
  readonly contexts: Contexts;
  readonly plans: ClientPlans;
  readonly engines: Engines;
  readonly keepWarm: KeepWarm;
  readonly targetSockets: TargetSocketReconciler;
  readonly reload: Reload;
  readonly openMetrics: () => void;
  /** Tells the service manager that the daemon is ready. */
  readonly tellManager: () => void;
  /** Ends what has been started. */
  readonly abandon: () => Promise<void>;
}

/**
 * Resolves when the control socket is claimed and an engine has been started. Rejects when that fails, after everything has been ended.
 * `ready` resolves when streams and the configured target sockets are accepted, or when that has failed once. It never rejects.
 */
export async function start(parts: StartParts): Promise<{ readonly ready: Promise<void> }> {
  const { log, paths, version, app } = parts;
  try {
    await claimSockets(parts);
  } catch (error) {
    await parts.abandon();
    await app.close();
    throw error;
  }
  log.info({ socket: paths.controlSocket, pid: process.pid, version }, 'bmuxd is up');
  // After a start that fails for want of files, its failure is all that is told.
  const few = fewFiles();
  if (few !== undefined) log.warn({ code: few.code, remedy: few.data.remedy }, few.message);
  parts.reload.reportMistake();
  return { ready: openTargetSockets(parts).then(parts.tellManager) };
}

async function claimSockets(parts: StartParts): Promise<void> {
  const { instance, engines, contexts, app } = parts;
  const { replace, signal } = parts.mode;
  // The other daemon serves until everything is ready here. When it does not get ready, nothing has changed.
  if (replace) {
    await engines.start();
    await engines.ready(signal);
    await contexts.openOwn();
    await getReadyAsBefore(parts, LIMITS.warmLikeMs);
  }
  await instance.claim(app.server, { signal, replace });
  if (!replace) await engines.start();
  engines.open();
  parts.openMetrics();
}

async function openTargetSockets(parts: StartParts): Promise<void> {
  const { mode, contexts, targetSockets, engines, keepWarm, log } = parts;
  const open = async (): Promise<void> => {
    if (!mode.replace) {
      await contexts.openOwn();
      await getReadyAsBefore(parts, LIMITS.warmAgainMs);
    }
    await targetSockets.open();
    // Without a config the paths stay as they are, and the engines of before go on accepting there.
    void targetSockets.tried().then(() => {
      engines.takeOver();
    });
    keepWarm.open();
  };
  const opened = open().catch((error: unknown) => {
    log.error({ err: asFailure(error).data }, 'target sockets');
  });
  await Promise.all([engines.firstTried, settledWithin(opened, LIMITS.targetSocketMs)]);
}

/** Until this is over, engines of another daemon accept on the target sockets. */
function getReadyAsBefore({ mode, plans, engines }: StartParts, limitMs: number): Promise<void> {
  return warmLikePredecessor({
    former: () => engines.formerUpstreams(),
    // With `replace` the engine is ready already.
    tried: mode.replace ? Promise.resolve() : engines.firstTried,
    limitMs,
    planFor: (target) => plans.planFor({ target }),
    tell: (message) => {
      engines.tell(message);
    },
    upstreams: () => engines.upstreams(),
  });
}
