// Makes what control needs for engines: the supervisor, the directory of all engines, and the socket for stream requests.
import { join } from 'node:path';
import { SYSTEM_CLOCK } from '../../base/async/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { BmuxdPaths, Env } from '../../base/paths.ts';
import type { BrokerEvent } from '../../api/answers.ts';
import type { Settings } from '../../config/settings/table.ts';
import { asFailure } from '../../errors/fail.ts';
import { engineRequest } from '../../sockets/http-request.ts';
import { CapturedStderr } from './captured-stderr.ts';
import { EngineDirectory } from './engine-directory.ts';
import type { EngineHandlers, EngineLink } from './engine-link.ts';
import { forkEngine } from './engine-process.ts';
import { StreamsSocket } from './streams-socket.ts';
import { EngineSupervisor } from './supervisor.ts';
import { EngineUsage } from './usage.ts';

export interface EnginesOptions extends Pick<EngineHandlers, 'onLog' | 'resolve' | 'resolveAgain'> {
  readonly paths: BmuxdPaths;
  readonly version: string;
  /** The daemon's own environment, which engines inherit. */
  readonly env: Env;
  readonly settings: () => Settings;
  readonly log: Logger;
  /** Descriptor of the streams socket, if a service manager has passed one. */
  readonly streamsFd: number | undefined;
  readonly isOurs: () => Promise<boolean>;
  readonly event: (event: Omit<BrokerEvent, 'atMs'> & { readonly atMs?: number }) => void;
  readonly onReady: (engine: EngineLink) => void;
  readonly onLeave: (engine: EngineLink) => void;
}

export interface Engines {
  readonly supervisor: EngineSupervisor;
  readonly directory: EngineDirectory;
  readonly streamsSocket: StreamsSocket;
}

/** Makes the objects. No engine is started and no socket is bound yet. */
export function makeEngines(options: EnginesOptions): Engines {
  const { paths, version, env, settings, log, event, onReady, onLeave } = options;
  const directory = new EngineDirectory({ dir: paths.enginesDir });
  const captured = new CapturedStderr(join(paths.stateDir, 'engine.stderr'));
  const socketOf = (generation: string): string => join(paths.enginesDir, `${generation}.sock`);
  const streamsSocket = new StreamsSocket({
    path: paths.streamsSocket,
    fd: options.streamsFd,
    isOurs: options.isOurs,
    log,
  });
  const supervisor: EngineSupervisor = new EngineSupervisor({
    clock: SYSTEM_CLOCK,
    log,
    fork: () => captured.lend((stderr) => forkEngine(env, stderr)),
    stderr: () => captured.read(),
    start: (generation) => ({
      generation,
      version,
      socketPath: socketOf(generation),
      stateDir: paths.stateDir,
      controlSocket: paths.controlSocket,
      settings: settings(),
    }),
    ask: async (generation) => (await engineRequest(socketOf(generation), 'GET', '/v1/engine')).body,
    handlers: {
      onEvent: event,
      onLog: options.onLog,
      resolve: options.resolve,
      resolveAgain: options.resolveAgain,
    },
    onReady: (engine) => {
      streamsSocket.attach(engine);
      event({ type: 'engine ready' });
      void usage.look();
      onReady(engine);
    },
    onLeave: (engine, why) => {
      streamsSocket.detach(engine);
      event({ type: 'engine gone', detail: why });
      onLeave(engine);
    },
    onStatus: (generation, status) => {
      directory.heard(generation, status);
      void usage.look();
    },
  });
  const usage = new EngineUsage({ directory, current: () => supervisor.current, log });
  return { supervisor, directory, streamsSocket };
}

/** Tells the engines of an earlier control to drain. The paths lead to sockets of this control now, on which the current engine accepts. */
export function takeOver({ supervisor, directory }: Engines, log: Logger): void {
  const { current } = supervisor;
  if (current === undefined) return;
  directory.drainOthers(current.generation).catch((error: unknown) => {
    log.warn({ err: asFailure(error).data }, 'telling older engines to drain');
  });
}
