// Whether text on a terminal is coloured: NO_COLOR (no-color.org) turns colours off, FORCE_COLOR comes before it, as in Node.
import type { Env } from '../paths.ts';

export function usesColor(env: Env): boolean {
  const forced = env['FORCE_COLOR'];
  if (forced !== undefined) return forced !== '0' && forced !== 'false';
  return (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}
