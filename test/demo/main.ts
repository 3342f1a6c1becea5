// `npm start`: runs the whole broker on this machine and shows times for each transport. `npm start -- --once` exits after that.
import { textOf } from '../../daemon/base/failure.ts';
import { table } from '../../daemon/cli/table.ts';
import { bmuxd } from './broker.ts';
import { timeStream } from './measure.ts';
import type { Scene } from './stage.ts';
import { openStage, type Stage } from './stage-process.ts';

/** A Ping of epoch 4 with request id 2 (docs/bmux-protocol.md, "Example frames"), as an argument of printf. */
const PING = String.raw`\5\0\0\0\4\2\0\1\1`;

const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

/** Prints a row per transport and round. False when one of them failed. */
async function showTimes({ env, targets, skipped }: Scene): Promise<boolean> {
  const rows: string[][] = [];
  const failures: string[] = [];
  for (const { name, way } of targets) {
    for (const turn of ['first', 'again']) {
      try {
        const { grantedMs, answeredMs, known } = await timeStream(env, name);
        rows.push([name, way, turn, grantedMs.toFixed(1), answeredMs.toFixed(1), known]);
      } catch (error) {
        rows.push([name, way, turn, '-', '-', 'FAILED']);
        failures.push(`${name}, ${turn}: ${textOf(error)}`);
      }
    }
  }
  say(
    'A new stream for every row. Milliseconds from the connect to the streams socket to the 101 and to the answer of a Ping.\n',
  );
  const header = ['TARGET', 'TRANSPORT', 'TURN', '101', 'PING', 'WARM BEFORE'];
  for (const line of [...table(header, rows), ...failures]) say(line);
  for (const reason of skipped) say(`skipped: ${reason}`);
  return failures.length === 0;
}

/** Prints the output of `bmuxd status`; false when the daemon is degraded. */
async function showStatus({ env }: Scene): Promise<boolean> {
  const { status, stdout, stderr } = await bmuxd(env, ['status', '--wait', '5']);
  say(`\n$ bmuxd status\n${stdout}${stderr}`.trimEnd());
  return status === 0;
}

function showNextSteps({ folder, envFile, logFile }: Scene): void {
  say(`
The daemon stays up. In another terminal (it keeps to ${folder}):

  . ${envFile}
  bmuxd status
  bmuxd targets
  printf '${PING}' | bmux-stream --epoch 4 demo-tls | od -An -tx1    # a Ping, and the server's Pong
  sleep 60 | bmux-stream demo-iroh &                                 # a stream that stays for a minute
  bmuxd streams
  bmuxd env demo-tls                                                 # for an unmodified bmux
  curl -s --unix-socket "$BMUXD_RUNTIME_DIR/control.sock" http://bmuxd/v1/status
  tail -f ${logFile}

Ctrl-C ends everything.`);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => {
      resolve();
    });
    if (signal.aborted) resolve();
  });
}

async function main(once: boolean, ended: AbortSignal): Promise<number> {
  let stage: Stage | undefined;
  // Nothing else keeps the process running while it waits for a signal.
  const alive = setInterval(() => undefined, 60_000);
  try {
    stage = await openStage(ended);
    const fine = [await showTimes(stage.scene), await showStatus(stage.scene)].every(Boolean);
    if (!once && !ended.aborted) {
      showNextSteps(stage.scene);
      await aborted(ended);
      say('\nending: streams, daemon, servers, folders');
    }
    return fine ? 0 : 1;
  } catch (error) {
    if (ended.aborted) return 0;
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  } finally {
    await stage?.close();
    clearInterval(alive);
  }
}

const args = process.argv.slice(2);
const unknown = args.find((arg) => arg !== '--once');
if (unknown === undefined) {
  const ended = new AbortController();
  // npm forwards a Ctrl-C that the terminal has already sent to every process, so the second one is ignored.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      ended.abort();
    });
  }
  // The reader of stdout has gone, so nothing more can be shown.
  process.stdout.on('error', () => {
    ended.abort();
  });
  process.exitCode = await main(args.includes('--once'), ended.signal);
} else {
  process.stderr.write(`npm start takes --once and nothing else, not '${unknown}'\n`);
  process.exitCode = 2;
}
