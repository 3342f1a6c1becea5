// Selects the target of a request before any lookup (docs/bmux-protocol.md, "Targets").
import type { BmuxConfig } from '../config/bmux/types.ts';
import type { CallerEnv } from '../api/request.ts';

/**
 * Returns the target's reference, trimmed; empty means local. The explicit one counts when not blank, else BMUX_TARGET when set, else
 * connections.default_target. A blank BMUX_TARGET means local and does not select the default target.
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
