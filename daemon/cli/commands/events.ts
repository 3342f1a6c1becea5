// `bmuxd events`: prints the latest events, then each new one.
import { request, type IncomingMessage } from 'node:http';
import type { Failure } from '../../base/failure.ts';
import { printable } from '../../errors/text.ts';
import type { BrokerEvent } from '../../api/answers.ts';
import { noAnswerOn, notAnswering } from '../../api/instance-file.ts';
import { StartWait } from '../../../client-shim/patience.ts';
import { isBrokerEvent } from '../../api/answer-shapes.ts';
import { socketProblem } from '../../api/socket-path.ts';
import { bmuxdPaths } from '../../base/paths.ts';
import { fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import { countOf, timeOf } from '../option-values.ts';
import { otherForm, refused, unasked } from '../ask-control.ts';
import type { CommandContext, Run } from '../command.ts';
import { failWithReader } from '../terminal.ts';

/** bmuxd sends no line longer than this, characters. */
const MAX_LINE = 1024 * 1024;
/** More than the daemon keeps. */
const MAX_COUNT = 10_000;

/** Which of the past events are shown, and whether new ones are. */
interface Wanted {
  readonly count: number;
  readonly sinceMs: number;
  readonly follows: boolean;
}

export const events: Run = (context) => {
  const { number, since } = context.options;
  return follow(context, {
    count: countOf('events', 'number', number, { min: 0, max: MAX_COUNT }) ?? MAX_COUNT,
    sinceMs: timeOf('events', 'since', since, Date.now()) ?? 0,
    follows: context.options['no-follow'] !== true,
  });
};

/** Resolves with 0 when the daemon exits or stdout is closed, or after the past events when no others are wanted. */
function follow({ env, out, options, stdout }: CommandContext, wanted: Wanted): Promise<number> {
  const socket = bmuxdPaths(env).controlSocket;
  const problem = socketProblem(socket);
  if (problem !== undefined) return Promise.reject(unasked(problem, socket));
  const json = options['json'] === true;
  return new Promise((resolve, reject) => {
    const call = request({ socketPath: socket, path: '/v1/events', agent: false });
    const giveUp = (failure: Failure): void => {
      call.destroy();
      reject(failure);
    };
    const silent = (): void => {
      giveUp(notAnswering(socket));
    };
    const start = new StartWait(socket);
    const unanswered = (): void => {
      if (start.goesOn()) timer = setTimeout(unanswered, LIMITS.engineAnswerMs);
      else giveUp(noAnswerOn(socket));
    };
    let timer = setTimeout(unanswered, LIMITS.engineAnswerMs);
    let foreign = false;
    /** The past events, until the comment that comes after them. */
    let past: string[] | undefined = [];
    const endPast = (): void => {
      const shown = wanted.count === 0 ? [] : (past ?? []).slice(-wanted.count);
      past = undefined;
      out(shown.join(''));
    };
    const over = (): void => {
      clearTimeout(timer);
      if (foreign) return;
      if (past !== undefined) endPast();
      resolve(0);
    };
    stdout.once('error', () => {
      call.destroy();
      over();
    });
    if (wanted.follows) failWithReader(stdout);
    call.on('response', (response) => {
      response.on('error', over);
      if (response.statusCode !== 200) {
        clearTimeout(timer);
        refusal(response, socket).then(reject, reject);
        return;
      }
      let held = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        clearTimeout(timer);
        timer = setTimeout(silent, LIMITS.eventsSilentMs);
        const lines = (held + text).split('\n');
        held = lines.pop() ?? '';
        if (held.length > MAX_LINE) {
          call.destroy();
          reject(fail('daemon_foreign', { socket, why: 'it sends no events' }));
        }
        for (const line of lines) {
          const data = line.startsWith('data: ') ? line.slice('data: '.length) : undefined;
          if (data === undefined && past !== undefined && line.startsWith(':')) {
            endPast();
            if (!wanted.follows) {
              call.destroy();
              over();
              return;
            }
          }
          if (data === undefined) continue;
          const event = parsed(data);
          if (!isBrokerEvent(event)) {
            foreign = true;
            clearTimeout(timer);
            call.destroy();
            otherForm(event, socket).then(reject, reject);
            return;
          }
          const text = json ? `${data}\n` : readable(event);
          if (past === undefined) out(text);
          else if (event.atMs >= wanted.sinceMs) past.push(text);
        }
        if (!stdout.writableNeedDrain) return;
        // The reader of stdout is slow. No timeout applies meanwhile; the daemon closes the connection when too much is buffered.
        clearTimeout(timer);
        response.pause();
        stdout.once('drain', () => response.resume());
      });
      response.on('end', over);
    });
    call.on('error', (error) => {
      clearTimeout(timer);
      reject(unasked(error, socket));
    });
    call.end();
  });
}

/** The failure in an answer whose status is not 200. */
async function refusal(response: IncomingMessage, socket: string): Promise<Failure> {
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response) {
    text += String(chunk);
    if (text.length > MAX_LINE) break;
  }
  return refused(parsed(text), response.statusCode ?? 0, socket);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function readable({ atMs, type, target, requestId, code, detail }: BrokerEvent): string {
  const parts = [new Date(atMs).toISOString(), type, target, requestId, code, detail?.split('\n', 1)[0]];
  return `${printable(parts.filter((part) => part !== undefined).join('  '))}\n`;
}
