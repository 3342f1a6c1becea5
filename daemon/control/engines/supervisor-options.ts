// What the supervisor of the engines is given: how to start and ask an engine, and who is told what happens.
import type { Clock } from '../../base/async/clock.ts';
import type { Failure } from '../../base/failure.ts';
import type { Logger } from '../../base/log.ts';
import type { EngineStart } from '../../engine-protocol/messages.ts';
import type { KeptRuntimeDir } from '../instance/kept-runtime-dir.ts';
import type { EngineHandlers, EngineLink, EngineProcess } from './engine-link.ts';
import type { EarlyProcess } from './engine-process.ts';

export interface EngineSupervisorOptions {
  readonly clock: Clock;
  /** Without it no engine can bind its socket: none is started, and one without its socket counts as at work. */
  readonly runtimeDir: Pick<KeptRuntimeDir, 'isAway' | 'lossLevel'>;
  /** False when another daemon has taken over. Never rejects. */
  readonly isOurs: () => Promise<boolean>;
  /** Why no engine may be started now. Asked again until one may. */
  readonly refusal: () => Failure | undefined;
  /** Starts a process. Throws the system's error when it cannot: E2BIG, EAGAIN, ENOMEM, or ENOENT when Node has been removed. */
  readonly fork: () => EngineProcess;
  /** The process of the first engine, whose start may have begun before. */
  readonly early: EarlyProcess;
  /** What the last process wrote to stderr; empty when nothing. */
  readonly stderr: () => string;
  /** Called with that when an engine has ended before it was ready. The next one may be started in another way. */
  readonly onFailedStart: (stderr: string) => void;
  readonly start: () => EngineStart;
  /** Asks an engine for its status over its own socket. Rejects as `engineRequest` does. */
  readonly ask: (generation: string) => Promise<unknown>;
  readonly log: Logger;
  readonly handlers: Pick<EngineHandlers, 'onEvent' | 'onTally' | 'onLog' | 'resolve' | 'resolveAgain'>;
  /** Called when the current engine is ready. */
  readonly onReady: (engine: EngineLink) => void;
  /** Called when an engine has ended, or when another one takes over from it. It must not be used any more. */
  readonly onLeave: (engine: EngineLink, why: string) => void;
  /** Called when an engine could not be started, has ended, or is replaced. */
  readonly onTrouble: () => void;
  /** Called with the current engine's status whenever it sends it, and after each check that it has answered. */
  readonly onStatus: (generation: string, status: unknown) => void;
}
