// `bmuxd status --watch`: targets and streams, renewed every second until a signal ends the command.
import { asText } from '../../errors/text.ts';
import { isStatus, isStreamList } from '../../api/answer-shapes.ts';
import type { StreamRow } from '../../api/answers.ts';
import { sleep } from '../../base/async/sleep.ts';
import { asFailure } from '../../errors/fail.ts';
import { askControl, STATUS_NOW } from '../ask-control.ts';
import type { CommandContext } from '../command.ts';
import { cut, roomOf } from '../table.ts';
import { renderedLive, type Rate } from './render.ts';

const RENEWED_MS = 1000;
/** To the first line, and wipe what is below it. */
const TOP = '\u001b[H';
const WIPE_LINE = '\u001b[K';
const WIPE_BELOW = '\u001b[J';
const WIPE_ALL = '\u001b[2J';

/** Bytes a second of each stream since the last call. */
export class Rates {
  #last = new Map<string, { readonly up: number; readonly down: number; readonly atMs: number }>();

  of(streams: readonly StreamRow[], nowMs: number): Map<string, Rate> {
    const rates = new Map<string, Rate>();
    for (const { id, bytesUp, bytesDown } of streams) {
      const last = this.#last.get(id);
      const seconds = last === undefined ? 0 : (nowMs - last.atMs) / 1000;
      if (last === undefined || seconds <= 0) continue;
      rates.set(id, { up: (bytesUp - last.up) / seconds, down: (bytesDown - last.down) / seconds });
    }
    this.#last = new Map(
      streams.map(({ id, bytesUp, bytesDown }) => [id, { up: bytesUp, down: bytesDown, atMs: nowMs }]),
    );
    return rates;
  }
}

/** Never resolves while stdout takes what is written. A daemon that is away for a moment is told and asked again. */
export async function watch({ env, out, options, stdout }: CommandContext): Promise<number> {
  const rates = new Rates();
  const isJson = options['json'] === true;
  let isOpen = true;
  stdout.once('error', () => {
    isOpen = false;
  });
  if (stdout.isTTY) out(WIPE_ALL);
  while (isOpen) {
    const frame = await frameOf({ env, stdout }, rates, isJson);
    const end = isJson ? '\n' : '\n\n';
    out(stdout.isTTY ? onScreen(frame, stdout) : `${frame.join('\n')}${end}`);
    await sleep(RENEWED_MS);
  }
  return 0;
}

async function frameOf(
  { env, stdout }: Pick<CommandContext, 'env' | 'stdout'>,
  rates: Rates,
  isJson: boolean,
): Promise<string[]> {
  try {
    const [status, list] = await Promise.all([
      askControl(env, STATUS_NOW, isStatus),
      askControl(env, { ...STATUS_NOW, path: '/v1/streams' }, isStreamList),
    ]);
    const now = rates.of(list.streams, performance.now());
    if (isJson) {
      const streams = list.streams.map((row) => ({ ...row, rate: now.get(row.id) }));
      return [JSON.stringify({ ...status, liveStreams: streams })];
    }
    return renderedLive(status, list.streams, now, roomOf(stdout));
  } catch (error) {
    return asText(asFailure(error), 'bmuxd').trimEnd().split('\n');
  }
}

/** What fits on the screen; nothing wraps or scrolls. */
function onScreen(frame: readonly string[], stdout: CommandContext['stdout']): string {
  const room = roomOf(stdout);
  const lines = frame.slice(0, Math.max(1, (stdout.rows || 24) - 1));
  return `${TOP}${lines.map((line) => `${cut(line, room)}${WIPE_LINE}\n`).join('')}${WIPE_BELOW}`;
}
