// Sends one HTTP request of a command to the daemon, with a time limit.
import { connectTo } from '../../client-shim/control-socket.ts';
import { StartWait } from '../../client-shim/patience.ts';
import { onSilence } from '../base/async/deadline.ts';
import { LIMITS } from '../base/limits.ts';
import { takeSent } from './status/early.ts';
import { exchange, requestHead, type ControlAnswer, type Exchange } from './status/exchange.ts';

export interface ControlQuestion {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** ms for the whole exchange. */
  readonly timeoutMs: number;
  /** Whether a daemon that starts, and whose socket a service manager holds before, is waited for: `LIMITS.startMs`. Default true. */
  readonly awaitsStart?: boolean;
}

/** Rejects an exchange in which no answer came in time. */
export class NoAnswer extends Error {
  constructor(ms: number) {
    super(`no answer within ${String(ms)} ms`);
    this.name = 'NoAnswer';
  }
}

/** The answer rejects with the error of the exchange, with `path_insecure`, or with `NoAnswer`. */
export function controlRequest(socketPath: string, question: ControlQuestion): Exchange {
  const { method, path, headers = {}, timeoutMs, awaitsStart = true } = question;
  const sent = takeSent(socketPath, method, path) ?? send(socketPath, method, path, headers);
  let over = (): void => undefined;
  const end = (): void => {
    over();
    sent.end();
  };
  const answer = new Promise<ControlAnswer>((resolve, reject) => {
    const start = new StartWait(socketPath);
    const wait = (ms: number): void => {
      over = onSilence(ms, () => {
        if (awaitsStart && start.goesOn()) {
          wait(Math.min(LIMITS.silenceMs, start.leftMs));
          return;
        }
        end();
        reject(new NoAnswer(Math.round(start.waitedMs)));
      });
    };
    wait(timeoutMs);
    sent.answer.finally(end).then(resolve, reject);
  });
  return { answer, end };
}

function send(
  socketPath: string,
  method: string,
  path: string,
  headers: NonNullable<ControlQuestion['headers']>,
): Exchange {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const length = method === 'GET' ? '' : 'Content-Length: 0\r\n';
  return exchange(connectTo(socketPath), requestHead(method, path, length + lines.join('')));
}
