// What the doctor finds in the configuration: settings, bmux's config with its layers and slot, trust, SSH agent, build policy.
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { whitelisted } from '../../api/caller-env.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { SYSTEM_CLOCK } from '../../base/async/clock.ts';
import { Deadline } from '../../base/async/deadline.ts';
import { textOf } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import { agentSocketOf, bmuxdPaths, bmuxPaths } from '../../base/paths.ts';
import { withoutCredentials } from '../../base/redact.ts';
import { ConfigFiles } from '../../config/bmux/config-files.ts';
import { readKnownGateways, knownGatewaysFile } from '../../config/bmux/known-gateways.ts';
import { ConfigSource, type CurrentConfig } from '../../config/bmux/source.ts';
import { DEFAULT, type ConfigValue } from '../../config/files/origins.ts';
import { SteadyFiles } from '../../config/files/steady-files.ts';
import { dotted } from '../../config/files/table.ts';
import { loadSettings } from '../../config/settings/load.ts';
import { settingsValues } from '../../config/settings/values.ts';
import { fail } from '../../errors/fail.ts';
import { applyPolicy } from '../../policy/policy.ts';
import { buildIdOf, metaForPolicy } from '../../policy/server-meta.ts';
import { agentKeys } from '../../transport/ssh-auth/agent.ts';
import { SystemRoots } from '../../transport/tls/certificates/roots.ts';
import { levelOf } from '../commands/run.ts';
import { misspeltKeys, settingsOfNobody } from './names.ts';
import { finding, checkedRows, type Check, type ReportRow, type Examined } from './row.ts';

export const settings: Check = async (surroundings) => {
  const area = 'settings';
  const { env, platform } = surroundings;
  const path = bmuxdPaths(env, platform).settings;
  const loaded = await loadSettings(path);
  if (loaded.problem !== undefined) return [finding(area, 'bmuxd.toml', loaded.problem)];
  const level = await checkedRows(area, () => {
    levelOf(env);
    return Promise.resolve([]);
  });
  const set = settingsValues(loaded).filter(({ origin }) => origin !== DEFAULT);
  const what = loaded.doc === undefined ? 'there is none' : `values: ${String(set.length)}`;
  // The usual file may be missing; one that somebody names is meant to be there.
  const isMissed = loaded.doc === undefined && (env['BMUXD_CONFIG'] ?? '') !== '';
  return [
    isMissed
      ? finding(area, 'bmuxd.toml', fail('settings_missing', { path }))
      : { area, what: 'bmuxd.toml', detail: `${path}: ${what}` },
    ...level,
    ...(await settingsOfNobody(loaded, surroundings)),
    ...valueRows(area, set),
  ];
};

/** bmux's config, its slot, and the policy of the local server. */
export const config: Check = async (surroundings) => {
  const area = 'config';
  const { files, current, paths } = await readConfig(surroundings);
  const { config: composed, problem, slot, warnings, values } = current;
  return [
    { area, what: 'layers', detail: layersText(files) },
    ...(problem === undefined ? [] : [finding(area, 'bmux.toml', problem)]),
    ...(slot === undefined ? [] : [{ area, what: 'slot', detail: slot.name }]),
    ...warnings.map((warning) => ({ area, what: 'warning', detail: withoutCredentials(warning) })),
    ...(await misspeltKeys(files)),
    ...valueRows(area, valuesFor(surroundings.target, values())),
    ...(await checkedRows('policy', async () => {
      const bmux = onPath(surroundings.env, 'bmux');
      const buildId = bmux === undefined ? undefined : await buildIdOf(bmux).catch(() => undefined);
      const meta = await metaForPolicy(paths);
      const { staleBuildAction } = composed.behavior;
      const told = applyPolicy({
        scope: 'normal',
        policy: true,
        slot: slot?.name,
        meta,
        staleBuildAction,
        buildId,
      });
      return told.map((warning) => ({ area: 'policy', what: 'warning', detail: warning }));
    })),
  ];
};

/** The roots of the system, and the pins. */
export const trust: Check = async ({ env, platform, cwd }) => {
  const area = 'trust';
  const { sources } = await new SystemRoots({ env, platform }).current();
  const store = knownGatewaysFile(bmuxPaths(whitelisted(withoutTargetSocket(env)), platform, cwd));
  const known = await readKnownGateways(store);
  const named = [env['SSL_CERT_FILE'], env['SSL_CERT_DIR']].filter((path) => path !== undefined);
  return [
    ...sources.map(({ path, certificates, problems }): ReportRow => {
      // The system's own folders may hold odd files. One that a variable names is meant to be used.
      if (certificates === 0 && named.some((name) => name.split(':').includes(path)))
        return finding(area, 'roots', fail('roots_missing', { path, why: problems[0] ?? 'no certificate' }));
      const [first, ...others] = problems;
      const more = others.length === 0 ? '' : `, and ${String(others.length)} more`;
      const leftOut = first === undefined ? '' : `; left out: ${first}${more}`;
      return { area, what: 'roots', detail: `${path}: ${String(certificates)} certificates${leftOut}` };
    }),
    known.problem === undefined
      ? { area, what: 'pins', detail: `${store}: ${String(known.pins.size)} gateways` }
      : finding(area, 'pins', known.problem),
  ];
};

/** The SSH agent matters where a target wants SSH auth. */
export const agent: Check = async (surroundings) => {
  const area = 'agent';
  const { env, cwd } = surroundings;
  const { current } = await readConfig(surroundings);
  const wants = [...current.config.connections.targets].filter(([, { irohSshAuth }]) => irohSshAuth);
  const [first] = wants;
  const socket = agentSocketOf(env, cwd);
  if (first === undefined)
    return [{ area, what: 'SSH agent', detail: `${socket ?? 'none'}; no target needs one` }];
  const [target] = first;
  if (socket === undefined) return [finding(area, 'SSH agent', fail('agent_missing', { target }))];
  const dialling = { deadline: new Deadline(LIMITS.agentChoiceMs), signal: new AbortController().signal };
  try {
    const late = (): Error => new Error('it did not list its keys in time');
    const keys = await agentKeys(socket, dialling, late);
    if (keys.length === 0) return [finding(area, 'SSH agent', fail('agent_empty', { socket, target }))];
    return keys.map(({ type, fingerprint, comment }) => {
      return { area, what: 'key', detail: `${type} ${fingerprint} ${comment}`.trimEnd() };
    });
  } catch (error) {
    return [finding(area, 'SSH agent', fail('agent_unusable', { socket, why: textOf(error) }, error))];
  }
};

export async function readConfig({ env, platform, cwd }: Examined): Promise<{
  readonly files: readonly string[];
  readonly current: CurrentConfig;
  readonly paths: ReturnType<typeof bmuxPaths>;
}> {
  const caller = whitelisted(withoutTargetSocket(env));
  const paths = bmuxPaths(caller, platform, cwd);
  const steady = new SteadyFiles(SYSTEM_CLOCK);
  try {
    const files = new ConfigFiles(steady);
    const source = new ConfigSource({ env: caller, paths, files, cwd, daemon: env, platform });
    const current = await source.current({ cwd, term: caller.TERM });
    return { files: source.files(), current, paths };
  } finally {
    steady.close();
  }
}

/** The files that are there, and where others are looked for. */
function layersText(files: readonly string[]): string {
  const there = files.filter((file) => existsSync(file));
  const missing = files.filter((file) => !there.includes(file));
  const lines = [there.length === 0 ? 'none' : there.join(', ')];
  return [...lines, ...(missing.length === 0 ? [] : [`not there: ${missing.join(', ')}`])].join('\n');
}

/** Without the values of other targets, when one is tried. */
function valuesFor(target: string | undefined, values: readonly ConfigValue[]): readonly ConfigValue[] {
  if (target === undefined) return values;
  const all = dotted(['connections', 'targets']);
  const own = dotted(['connections', 'targets', target]);
  return values.filter(({ key }) => !key.startsWith(`${all}.`) || key.startsWith(`${own}.`));
}

function valueRows(area: string, values: readonly ConfigValue[]): ReportRow[] {
  return values.map(({ key, value, origin }) => {
    const shown = withoutCredentials(`${key} = ${JSON.stringify(value)}`);
    return { area, what: 'value', detail: `${shown} (${origin})` };
  });
}

/** The program that a shell finds by this name. */
export function onPath(env: Examined['env'], name: string): string | undefined {
  const folders = (env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
