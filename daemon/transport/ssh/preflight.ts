// The preflight: what a target must have before a bridge can be opened there. It is asked once, in one session, and remembered.
import { Deadline, inTime, settledWithin } from '../../base/async/deadline.ts';
import type { Failure } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import { epochOf, type Epoch } from '../../bmux-ipc/epoch.ts';
import type { SshRoute } from '../../engine-protocol/plan.ts';
import { advised, fail } from '../../errors/fail.ts';
import type { Dialling } from '../dialling.ts';
import { BMUX_THERE, commandFailure, sshTimeout } from './failures.ts';
import type { SshProcess } from './process.ts';
import type { ServerThere } from './watch.ts';

/** What a preflight has found. */
export interface Preflight {
  /** The version of bmux there; undefined where a forced command answers for it. */
  readonly version: string | undefined;
  /** The epoch of the server that runs there, as far as its version tells. */
  readonly epoch: Epoch | undefined;
}

/** Runs a command there: opens its session. */
export type RunThere = (command: string) => Promise<SshProcess>;

/** Characters of an answer that are read. */
const MAX_ANSWER = 16 * 1024;
/** ms that the answer to the first question may go on after a line that is not bmux's. */
const PRINTED_MS = 1000;

interface CommandAnswer {
  readonly stdout: string;
  readonly session: SshProcess;
  readonly status: number | undefined;
}

/** Rejects with the failure for the user when a bridge cannot work. Starts the server there if the target wants that. */
export async function preflight(
  route: SshRoute,
  label: string,
  wait: Dialling,
  runThere: RunThere,
): Promise<Preflight> {
  const bmux = route.remoteBmuxPath;
  const ask = (command: string, isOver?: IsOver): Promise<CommandAnswer> =>
    answerOf(runThere(command), label, { ...wait, isOver });
  const asked = await ask(`${bmux} --version && ${bmux} server status`, hasPrinted);
  const lines = asked.stdout.split(/\r?\n/);
  const ended = { words: asked.session.words, exit: { status: asked.status } };
  const version = VERSION.exec(lines[0] ?? '')?.[1];
  if (version === undefined) {
    const printed = lines.find((line) => line.trim() !== '');
    const known = commandFailure(route, label, ended);
    // What a shell prints comes first, whatever follows.
    if (printed !== undefined)
      throw fail('ssh_shell_prints', { label, line: JSON.stringify(printed.slice(0, 200)) }, known);
    if (known !== undefined) throw known;
    // A forced command, such as a bridge, takes no other one.
    if (asked.status === 0) return { version: undefined, epoch: undefined };
    throw advised(
      fail('ssh_bridge_failed', { label, status: asked.status ?? 255 }, ended.words.asCause()),
      'No bmux has answered there: `ssh HOST true` must succeed and print nothing. See the rc files of the shell there, and remote_bmux_path.',
    );
  }
  const server = /^server version: (\S+)/m.exec(asked.stdout)?.[1];
  if (asked.status === 0) return { version, epoch: epochOf(server ?? version) };
  const refused = commandFailure(route, label, ended);
  if (refused?.code === 'ssh_bmux_unsuitable') throw refused;
  if (route.startsServer) {
    const started = await ask(`${bmux} server start --daemon`);
    // `server status` may fail beside a server that runs.
    const runs = started.status === 0 || /already running/.test(started.stdout + started.session.words.text);
    if (!runs) throw fail('ssh_server_start_failed', { label }, started.session.words.asCause());
  } else if (isStopped(asked.stdout + ended.words.text)) throw fail('ssh_server_not_running', { label });
  return { version, epoch: epochOf(version) };
}

/** Asks which server runs there. Never rejects. */
export async function serverThere(route: SshRoute, label: string, runThere: RunThere): Promise<ServerThere> {
  const deadline = new Deadline(LIMITS.sshPreflightMs);
  const command = `${route.remoteBmuxPath} server status`;
  const answer = await answerOf(runThere(command), label, { deadline }).catch(() => undefined);
  if (answer === undefined) return undefined;
  const { status, stdout, session } = answer;
  if (status !== 0) return isStopped(stdout + session.words.text) ? 'stopped' : undefined;
  return { id: (stdout.match(/^server (?:pid|started_at_ms): \d+/gm) ?? []).join() };
}

const VERSION = /^bmux (\S+)/;

/** Whether a shell has printed a line before bmux has. It may never end. */
function hasPrinted(stdout: string): boolean {
  const lines = stdout.split(/\r?\n/).slice(0, stdout.length < MAX_ANSWER ? -1 : undefined);
  return !VERSION.test(lines[0] ?? '') && lines.some((line) => line.trim() !== '');
}

function isStopped(said: string): boolean {
  return /server is not running/.test(said);
}

/** Whether nothing more has to be read of an answer. */
type IsOver = (stdout: string) => boolean;

interface AnswerWait extends Pick<Dialling, 'deadline'> {
  readonly signal?: AbortSignal;
  readonly isOver?: IsOver | undefined;
}

async function answerOf(
  opening: Promise<SshProcess>,
  label: string,
  { deadline, signal, isOver = () => false }: AnswerWait,
): Promise<CommandAnswer> {
  const session = await opening;
  let stdout = '';
  let isRead = false;
  const over = new Promise<void>((resolve) => {
    const from = session.stdout;
    from?.setEncoding('utf8');
    from?.on('data', (text: string) => {
      stdout = (stdout + text).slice(0, MAX_ANSWER);
      if (isRead || !isOver(stdout)) return;
      isRead = true;
      // What follows may tell more.
      void settledWithin(session.exited, PRINTED_MS).then(() => session.end());
    });
    from?.once('close', resolve);
  });
  const ms = deadline.within(LIMITS.sshPreflightMs);
  const late = (): Failure => sshTimeout(label, { waitsFor: BMUX_THERE }, session.words);
  try {
    const exit = await inTime(session.exited, ms, late, { signal });
    await inTime(over, LIMITS.sshControlMs, late);
    return { stdout, session, status: exit.status };
  } catch (error) {
    void session.end();
    throw error;
  }
}
