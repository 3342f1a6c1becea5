// What a start of control takes and gives.
import type { LogLevel } from '../base/log.ts';
import type { Env } from '../base/paths.ts';
import type { EarlyProcess } from './engines/engine-process.ts';
import type { ControlSink } from './instance/stderr-sink.ts';

export interface ControlOptions {
  readonly env: Env;
  /** Working directory. Relative paths in `env` are resolved against it. */
  readonly cwd: string;
  readonly version: string;
  readonly sink: ControlSink;
  /** The process of the first engine. The caller kills it when the start fails. */
  readonly early: EarlyProcess;
  /** Level from the command line. It overrides the setting `log.level`. */
  readonly logLevel?: LogLevel | undefined;
  /** Takes over from a daemon that runs. Without one, it starts as usual. */
  readonly replace?: boolean | undefined;
  /** Ends a start that is under way: it rejects with the reason of the signal. */
  readonly signal?: AbortSignal | undefined;
}

export interface Control {
  readonly socketPath: string;
  /** Ends the daemon as the setting `on_term` says. May be called twice. */
  onTerm(signal: NodeJS.Signals): Promise<void>;
  /** Ends control; engines drain, and live streams go on. Resolves when the sockets are gone. May be called twice. */
  close(): Promise<void>;
  reload(): Promise<void>;
  /** Resolves when streams and the configured target sockets are accepted, or when that has failed once. Never rejects. */
  readonly ready: Promise<void>;
  /**
   * Resolves when a client has asked the daemon to stop and all has ended, or when another daemon has taken over the runtime dir. Rejects
   * when control must exit because of unexpected errors.
   */
  readonly stopped: Promise<void>;
}
