// The targets of a context, as `bmuxd targets` lists them: every configured one, and the chosen one, resolved as a request would.
import type { View } from '../contexts/contexts.ts';
import { withoutCredentials } from '../../base/redact.ts';
import { addressOf } from '../../engine-protocol/address.ts';
import { resolveTarget } from '../../target/resolve.ts';
import { selectTarget } from '../../target/select.ts';
import { SCHEMA, type TargetList, type TargetRow } from '../../api/answers.ts';
import { asFailure } from '../../errors/fail.ts';

/** A list asks nobody: what only the control plane knows is shown as a failure to reach it. */
const NO_LOOKUP = {
  timeoutMs: 1000,
  fetch: () => Promise.reject(new Error('a list does not ask it')),
};

/** Rows in the order of the config, local first. */
export async function listTargets(view: View): Promise<TargetList> {
  const { connections } = view.config;
  const selected = selectTarget(undefined, view.env, view.config);
  const chosen = selected === '' ? 'local' : selected;
  const names = [
    'local',
    ...connections.targets.keys(),
    ...[...connections.shareLinks.keys()].map((name) => `bmux://${name}`),
    chosen,
  ];
  const rows = await Promise.all([...new Set(names)].map((name) => rowOf(name, chosen, view)));
  return { schema: SCHEMA, targets: rows };
}

async function rowOf(name: string, chosen: string, view: View): Promise<TargetRow> {
  const { env, config, paths } = view;
  const shown = { name: withoutCredentials(name), isDefault: name === chosen };
  try {
    const { route } = await resolveTarget({ target: name, env, config, paths, lookup: NO_LOOKUP });
    return { ...shown, transport: route.transport, address: addressOf(route) };
  } catch (error) {
    const transport = config.connections.targets.get(name)?.transport ?? '';
    return { ...shown, transport, address: '', failure: asFailure(error).data };
  }
}
