// How a stream ended: its engine says it, or the file that the engine has left.
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SCHEMA, type StreamEnd } from '../../../api/answers.ts';
import { isStreamEnd, keptEnd } from '../../../api/stream-end.ts';
import { askUntilBack } from '../../../base/async/until-back.ts';
import { keptEndsBeside } from '../../../base/paths.ts';
import { engineRequest, isLack, isSilence } from '../../../sockets/http-request.ts';

/**
 * How the stream `id` of the engine behind `path` ended. Without an answer and without a file the engine has died, or a cleaner has removed both: a
 * living engine binds its socket again, which is waited for unless it `isDead`.
 */
export async function endOf(id: string, path: string, isDead: () => boolean): Promise<StreamEnd> {
  const end = await askUntilBack(() => endAt(id, path), isDead);
  if (end !== undefined) return end;
  const dir = await stat(dirname(path)).catch(() => undefined);
  const lost = dir === undefined ? 'the runtime dir is gone' : 'its engine has died';
  return { schema: SCHEMA, known: true, lost };
}

/** Undefined when nobody answers and there is no file. */
async function endAt(id: string, path: string): Promise<StreamEnd | undefined> {
  try {
    const { body } = await engineRequest(path, 'GET', `/v1/streams/${encodeURIComponent(id)}/end`);
    if (isStreamEnd(body)) return body;
  } catch (error) {
    if (isSilence(error) || isLack(error))
      return { schema: SCHEMA, known: true, lost: 'its engine does not answer' };
  }
  const kept = await readFile(keptEndsBeside(path), 'utf8').catch(() => undefined);
  return kept === undefined ? undefined : keptEnd(kept, id);
}
