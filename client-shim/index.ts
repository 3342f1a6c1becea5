// The client library for Node programs: opens a stream to a bmux server through the broker.
import { statSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { buildIdFrom } from '../daemon/base/build-id.ts';
import { drainAfterWriteError } from '../daemon/base/streams/drain-after-write-error.ts';
import { bmuxdPaths, streamsSocketBeside, type Env } from '../daemon/base/paths.ts';
import type { StreamInfo, Waiting } from '../daemon/api/answers.ts';
import { whitelisted } from '../daemon/api/caller-env.ts';
import { fail } from '../daemon/errors/fail.ts';
import { asciiJson } from '../daemon/api/header.ts';
import type { RequestContract, Scope, StreamRequest, UnknownTarget } from '../daemon/api/request-types.ts';
import { askForStream } from './connect.ts';
import { workingDirectory } from './control-socket.ts';
import { tellWhenLost } from './lost-stream.ts';
import { whyLost } from './probe.ts';

export { Failure, type FailureData } from '../daemon/base/failure.ts';
export type { StreamInfo, Waiting } from '../daemon/api/answers.ts';

/** Default of `timeoutMs`, ms; longer than a target's connect_timeout_ms (8 s). */
export const DEFAULT_BUDGET_MS = 120_000;

export interface OpenStreamOptions {
  /** A configured target, `bmux://NAME`, `tls://…`, `https://…`, `iroh://…`, `local`. Default: BMUX_TARGET, then the config's default. */
  readonly target?: string;
  /** `recovery_inspection` skips both policies. Default `normal`. */
  readonly scope?: Scope;
  /** False: no policy is checked (bmux's connect_raw). Default true. */
  readonly policy?: boolean;
  /** `refuse`: a target that is no address and not configured rejects with code `target_unknown`. Default: the setting `target_unknown`. */
  readonly unknownTarget?: UnknownTarget;
  /** Rejects with code `nothing_there` when no server runs there. Default false. */
  readonly ifRunning?: boolean;
  /** Free label for the server's debug log. */
  readonly clientName?: string;
  /** Protocol contract of this client. Default: the server's own epoch. */
  readonly contract?: RequestContract;
  /** Build id of the client (docs/bmux-protocol.md, "Build ids"). */
  readonly buildId?: string;
  /** Executable whose build id is sent instead of `buildId`. */
  readonly buildOf?: string;
  /** Active slot. Default: BMUX_SLOT_NAME of `env`. */
  readonly slot?: string;
  /** Folder for `auto_select.cwd_prefix`. Default the process's own. */
  readonly cwd?: string;
  /** Environment; only whitelisted variables of it are sent. Default the process's own. */
  readonly env?: Env;
  /** Path of the control socket; the streams socket is beside it. Default: where `env` says. */
  readonly socketPath?: string;
  /** ms for everything, retries included. Default 120 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Called when the request has waited for 1 s, and at each further step: what it waits for. It must not throw. */
  readonly onWaiting?: (waiting: Waiting) => void;
}

/** A stream on which the Hello has been answered, and the broker's information about it. */
export interface OpenedStream {
  /**
   * The client may half-close. The server's end closes it both ways. Paused until it is read. When the stream was lost, it emits an error
   * with code `stream_lost` after its data, and no end.
   */
  readonly stream: Duplex;
  readonly info: StreamInfo;
}

/** The build id of an executable: `{size}-{mtime in whole ms}` (docs/bmux-protocol.md, "Build ids"). Throws `executable_unreadable`. */
export function buildIdOf(path: string): string {
  try {
    return buildIdFrom(statSync(path, { bigint: true }));
  } catch (error) {
    throw fail('executable_unreadable', { path }, error);
  }
}

/**
 * Opens a stream through the broker. Rejects with a `Failure` whose `data` holds code, detail, remedy and exit status:
 * the broker's own failure, or `daemon_not_running`, `daemon_not_answering`, `daemon_start_late`, `daemon_lost`.
 */
export async function openStream(options: OpenStreamOptions = {}): Promise<OpenedStream> {
  const env = options.env ?? process.env;
  const buildId = options.buildOf === undefined ? options.buildId : buildIdOf(options.buildOf);
  const { target, scope, policy, unknownTarget, ifRunning, clientName, contract, slot } = options;
  const request: StreamRequest = {
    ...(target === undefined ? {} : { target }),
    ...(scope === undefined ? {} : { scope }),
    ...(policy === undefined ? {} : { policy }),
    ...(unknownTarget === undefined ? {} : { unknownTarget }),
    ...(ifRunning === undefined ? {} : { ifRunning }),
    ...(clientName === undefined ? {} : { clientName }),
    ...(contract === undefined ? {} : { contract }),
    ...(buildId === undefined ? {} : { buildId }),
    ...(slot === undefined ? {} : { slot }),
    cwd: options.cwd ?? workingDirectory(),
    env: whitelisted(env),
  };
  const controlSocket = options.socketPath ?? bmuxdPaths(env).controlSocket;
  const { socket, info } = await askForStream({
    socketPath: streamsSocketBeside(controlSocket),
    controlSocket,
    request: asciiJson(request),
    budgetMs: options.timeoutMs ?? DEFAULT_BUDGET_MS,
    signal: options.signal,
    onWaiting: options.onWaiting,
  });
  tellWhenLost(socket, () => whyLost(info.id, { controlSocket, env }));
  drainAfterWriteError(socket);
  return { stream: socket, info };
}
