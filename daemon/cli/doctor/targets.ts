// What the doctor finds at each target: it is planned as for a request, then tried step by step by the probe.
import { asciiJson } from '../../api/header.ts';
import { whitelisted } from '../../api/caller-env.ts';
import type { StreamRequest } from '../../api/request-types.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { bmuxdPaths } from '../../base/paths.ts';
import type { FailureData } from '../../base/failure.ts';
import { makeLogger } from '../../base/log.ts';
import { withoutCredentials } from '../../base/redact.ts';
import { loadSettings } from '../../config/settings/load.ts';
import type { Route } from '../../engine-protocol/plan.ts';
import { finding, checkedRows, type Check, type ReportRow } from './row.ts';

/** Targets that are tried at the same time. */
const AT_ONCE = 4;

export const targets: Check = async (surroundings) => {
  const { env, cwd, platform, target } = surroundings;
  const { makePlanning } = await import('../../control/planning/planning.ts');
  const { listTargets } = await import('../../control/planning/list-targets.ts');
  const { settings } = await loadSettings(bmuxdPaths(env, platform).settings);
  const own = { env: whitelisted(withoutTargetSocket(env)), cwd };
  const log = makeLogger({ level: 'fatal', process: 'doctor', sink: { write: () => undefined } });
  const event = (): void => undefined;
  const onChange = (): void => undefined;
  const isPinned = (): boolean => false;
  const planning = makePlanning({
    env,
    own,
    settings: () => settings,
    log,
    event,
    onChange,
    onTrustChange: onChange,
    isPinned,
  });
  const { contexts, planner, plans, http } = planning;
  const request = (name: string): StreamRequest => ({
    ...own,
    target: name,
    clientName: 'bmuxd doctor',
    scope: 'recovery_inspection',
    unknownTarget: 'refuse',
  });
  const tried = async (name: string): Promise<readonly ReportRow[]> => {
    const since = performance.now();
    const signal = AbortSignal.timeout(settings['control_plane.timeout']);
    const plan = await planner.plan('doctor', asciiJson(request(name)), () => signal);
    const { route, warnings } = plan.destination;
    const area = areaOf(name);
    const planned: ReportRow = { area, what: 'plan', detail: route.transport, ms: performance.now() - since };
    const { steps, failure } = await surroundings.probe({ plan, settings });
    return [
      planned,
      ...warnings.map((warning) => ({ area, what: 'warning', detail: warning })),
      ...steps.map(({ step, ms, detail }) => ({ area, what: step, ms, detail })),
      ...(failure === undefined ? [] : [failed(area, route, failure)]),
    ];
  };
  try {
    if (target !== undefined) return await checkedRows(areaOf(target), () => tried(target));
    const { targets: listed } = await listTargets(await contexts.view({ ...own }));
    const rows: (readonly ReportRow[])[] = [];
    const left = [...listed.entries()];
    const worker = async (): Promise<void> => {
      for (let next = left.shift(); next !== undefined; next = left.shift()) {
        const [index, { name, failure }] = next;
        const area = areaOf(name);
        if (failure !== undefined && failure.code !== 'control_plane_unreachable')
          rows[index] = [{ area, what: 'plan', detail: failure.detail, failure }];
        else rows[index] = settled(name, await checkedRows(area, () => tried(name)));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    return rows.flat();
  } catch (error) {
    return [finding('targets', 'config', error)];
  } finally {
    for (const one of [planner, plans, http]) one.close();
    await contexts.close();
  }
};

/** A target may be an address with a password, and the report is sent to others. */
function areaOf(name: string): string {
  return `target ${withoutCredentials(name)}`;
}

/** Nobody has asked for the local server: that none runs is no finding. */
function settled(name: string, rows: readonly ReportRow[]): readonly ReportRow[] {
  if (name !== 'local') return rows;
  return rows.map(({ failure, ...row }) =>
    failure === undefined || failure.code === 'server_not_running'
      ? { ...row, ...(failure === undefined ? {} : { what: 'server', detail: 'no local server runs' }) }
      : { ...row, failure },
  );
}

function failed(area: string, route: Route, failure: FailureData): ReportRow {
  const step = STEPS_OF_CODES[failure.code] ?? STEPS[failure.class ?? 'engine'] ?? 'connect';
  // The others have no step of that name.
  const what = step === 'tcp' && !['tls', 'ssh'].includes(route.transport) ? 'connect' : step;
  // The doctor starts none.
  if (failure.code === 'ssh_server_not_running' && route.transport === 'ssh' && route.startsServer)
    return { area, what, detail: 'no server runs there; the next command starts one' };
  return { area, what, detail: failure.detail, failure };
}

/** The steps at which failures of these classes come, and single failures. */
const STEPS: Readonly<Record<string, string>> = {
  dns: 'dns',
  offline: 'dns',
  refused: 'tcp',
  tls_trust: 'trust',
  relay: 'relay',
  auth: 'auth',
  epoch: 'hello',
  server_gone: 'hello',
};
const STEPS_OF_CODES: Readonly<Record<string, string>> = {
  zstd_unavailable: 'hello',
  ssh_config_unusable: 'config',
  ssh_host_unknown: 'dns',
  ssh_unreachable: 'tcp',
  ssh_jump_failed: 'jump host',
  ssh_jump_key_unknown: 'jump host',
  ssh_jump_key_changed: 'jump host',
  ssh_proxy_failed: 'proxy',
  ssh_host_key_unknown: 'host key',
  ssh_host_key_changed: 'host key',
  ssh_logins_refused: 'auth',
  ssh_login_failed: 'auth',
  ssh_session_refused: 'session',
  ssh_bmux_missing: 'bmux',
  ssh_bmux_unsuitable: 'bmux',
  ssh_shell_prints: 'bmux',
  ssh_server_not_running: 'server',
};
