// Whether text is coloured: on a terminal, unless NO_COLOR (no-color.org) is set. FORCE_COLOR (force-color.org) comes
// before both.
import type { Env } from '../paths.ts';

/** An empty variable counts as unset. */
export function usesColor(env: Env, isTerminal: boolean): boolean {
  const forced = env['FORCE_COLOR'] ?? '';
  if (forced !== '') return forced !== '0' && forced !== 'false';
  return isTerminal && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}
