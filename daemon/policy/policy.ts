// The two checks before any connection, in order: the slot of the server, and its build (docs/bmux-protocol.md, "Policies").
import { quoted } from '../base/quote.ts';
import type { StaleBuildAction } from '../config/bmux/types.ts';
import { fail } from '../errors/fail.ts';
import type { Scope } from '../api/request.ts';
import type { ServerMeta } from './meta-format.ts';

/** Input of the policies. `scope`, `policy`, `slot` and `buildId` come from the request. */
export interface PolicyInputs {
  /** Default `normal`; `recovery_inspection` skips both. */
  readonly scope?: Scope | undefined;
  /** Default true; false corresponds to bmux's connect_raw. */
  readonly policy?: boolean | undefined;
  /** The client's slot; none or blank passes the cross-slot check. */
  readonly slot?: string | undefined;
  /** From `metaForPolicy`: none means that neither policy applies. */
  readonly meta: ServerMeta | undefined;
  readonly staleBuildAction: StaleBuildAction;
  /** The client's build id; unknown passes the stale-build check. */
  readonly buildId?: string | undefined;
}

/** Returns warnings for the user. Fails with `cross_slot_refused`, `cross_slot_unrecorded` or `stale_build_refused`. */
export function applyPolicy(inputs: PolicyInputs): string[] {
  const { scope = 'normal', policy = true, meta } = inputs;
  if (scope === 'recovery_inspection' || !policy || meta === undefined) return [];
  checkSlot(inputs.slot, meta.slotName);
  return checkBuild(inputs.staleBuildAction, inputs.buildId, meta);
}

function checkSlot(clientSlot: string | undefined, server: string | undefined): void {
  const client = clientSlot?.trim() ?? '';
  if (client === '' || client === server) return;
  if (server === undefined) throw fail('cross_slot_unrecorded', { client: quoted(client) });
  throw fail('cross_slot_refused', { client: quoted(client), server, serverQuoted: quoted(server) });
}

function checkBuild(action: StaleBuildAction, clientBuild: string | undefined, meta: ServerMeta): string[] {
  const buildId = clientBuild ?? '';
  if (action === 'ignore' || buildId === '' || buildId === meta.buildId) return [];
  const message = [
    `bmux ${action === 'error' ? 'error' : 'warning'}: running server build differs from current CLI build.`,
    `server build: ${meta.buildId} (${meta.executablePath})`,
    `cli build: ${buildId}`,
    'Restart with `bmux server stop` and retry.',
  ].join('\n');
  if (action === 'error') throw fail('stale_build_refused', { message });
  return [message];
}
