// Which target a request means, before anything is looked up (docs/bmux-protocol.md, "Targets").
import type { BmuxConfig } from '../config/bmux/types.ts';
import type { CallerEnv } from '../api/request.ts';

/**
 * The target's reference, trimmed; empty means local. The explicit one when not blank, else BMUX_TARGET when set (set but blank
 * means local: it must not fall through), else connections.default_target.
 */
export function selectTarget(
  target: string | undefined,
  env: Pick<CallerEnv, 'BMUX_TARGET'>,
  config: BmuxConfig,
): string {
  const explicit = target?.trim() ?? '';
  if (explicit !== '') return explicit;
  return (env.BMUX_TARGET ?? config.connections.defaultTarget ?? '').trim();
}
