// The targets of a context, as `bmuxd targets` lists them: all configured ones and the default one, resolved as for a request.
import type { StreamRequest } from '../../api/request.ts';
import type { Plan } from '../../engine-protocol/plan.ts';
import type { View } from '../contexts/contexts.ts';
import { withoutCredentials } from '../../base/redact.ts';
import { addressOf } from '../../engine-protocol/address.ts';
import { resolveTarget } from '../../target/resolve.ts';
import { selectTarget } from '../../target/select.ts';
import { SCHEMA, type TargetList, type TargetRow } from '../../api/answers.ts';
import { asFailure } from '../../errors/fail.ts';

/** A list never asks the control plane. A target that needs a lookup is listed with a failure. */
const NO_LOOKUP = {
  timeoutMs: 1000,
  get: () => Promise.reject(new Error('a list makes no lookup at the control plane')),
};

/** Rows: `local` first, then the targets and the share links in the order of the config. A default target that is not configured is last. */
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

/** The one target that a request names, as its plan has found it. */
export function oneTarget(view: View, { target = '' }: StreamRequest, { destination }: Plan): TargetList {
  const chosen = selectTarget(undefined, view.env, view.config);
  const { route, address } = destination;
  const name = withoutCredentials(target.trim());
  return {
    schema: SCHEMA,
    targets: [
      {
        name,
        transport: route.transport,
        address: withoutCredentials(address),
        isDefault: name === (chosen === '' ? 'local' : chosen),
      },
    ],
  };
}

async function rowOf(name: string, chosen: string, view: View): Promise<TargetRow> {
  const { env, config, paths, hasHad } = view;
  const shown = { name: withoutCredentials(name), isDefault: name === chosen };
  try {
    const { route } = await resolveTarget({
      target: name,
      env,
      cwd: '/',
      config,
      paths,
      hasHad,
      lookup: NO_LOOKUP,
    });
    return { ...shown, transport: route.transport, address: withoutCredentials(addressOf(route)) };
  } catch (error) {
    const transport = config.connections.targets.get(name)?.transport ?? '';
    return { ...shown, transport, address: '', failure: asFailure(error).data };
  }
}
