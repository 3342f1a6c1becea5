// The names in a small folder of this program.
import { readdirSync } from 'node:fs';
import { isNobody } from '../failure.ts';

/** Empty without the folder; undefined when it is there and cannot be read. Not in a thread: an idle process asks this regularly, and a thread costs two wake-ups. */
export function namesIn(folder: string): string[] | undefined {
  try {
    return readdirSync(folder);
  } catch (error) {
    return isNobody(error) ? [] : undefined;
  }
}
