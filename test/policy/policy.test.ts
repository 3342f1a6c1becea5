// Tests daemon/policy/policy.ts: every row of the two policies with its text (docs/bmux-protocol.md, "Policies").
import t from 'tap';
import { Failure, type FailureData } from '../../daemon/base/failure.ts';
import type { ServerMeta } from '../../daemon/policy/meta-format.ts';
import { applyPolicy, type PolicyInputs } from '../../daemon/policy/policy.ts';

const meta = (slotName?: string): ServerMeta => ({
  pid: 42,
  version: '0.0.1-alpha.0',
  buildId: 'server-build',
  executablePath: '/tmp/bmux server',
  startedAtEpochMs: 0,
  ...(slotName === undefined ? {} : { slotName }),
});

function outcome(inputs: Partial<PolicyInputs>): string[] | FailureData {
  try {
    return applyPolicy({ meta: meta(), staleBuildAction: 'ignore', ...inputs });
  } catch (error) {
    if (error instanceof Failure) return error.data;
    throw error;
  }
}

const REFUSED =
  'cross-slot attach refused: this CLI is running under slot "dev" but the server in this runtime dir was started under slot "stable".\n' +
  'Run `bmux-stable` to talk to that server, or stop it first (`bmux-stable server stop`) and start a fresh server under slot "dev".';
const UNRECORDED =
  'cross-slot attach refused: this CLI is running under slot "dev" but the existing server in this runtime dir has no slot recorded (legacy / pre-slots install).\n' +
  'Stop the existing server, then run the slot-aware CLI fresh.';
const stale = (word: string): string =>
  `bmux ${word}: running server build differs from current CLI build.\n` +
  'server build: server-build (/tmp/bmux server)\ncli build: cli-build\nRestart with `bmux server stop` and retry.';

t.test('cross-slot', async (t) => {
  const rows: [name: string, inputs: Partial<PolicyInputs>, result: string | undefined][] = [
    ['same slot', { slot: 'dev', meta: meta('dev') }, undefined],
    ['another slot', { slot: 'dev', meta: meta('stable') }, REFUSED],
    ['none recorded', { slot: 'dev', meta: meta() }, UNRECORDED],
    ['client without a slot', { meta: meta('stable') }, undefined],
    ['client with a blank slot', { slot: ' ', meta: meta('stable') }, undefined],
    ['neither has one', { meta: meta() }, undefined],
    ['no metadata', { slot: 'dev', meta: undefined }, undefined],
    ['recovery', { slot: 'dev', meta: meta('stable'), scope: 'recovery_inspection' }, undefined],
    ['raw', { slot: 'dev', meta: meta('stable'), policy: false }, undefined],
  ];
  for (const [name, inputs, result] of rows) {
    const got = outcome(inputs);
    if (result === undefined) t.same(got, [], name);
    else t.hasStrict(got, { detail: result, exitStatus: 5, status: 409 }, name);
  }
});

t.test('slot names are quoted with escapes, but not in the command', async (t) => {
  const got = outcome({ slot: 'a"b\n', meta: meta('x\ty') });
  t.match(got, { detail: /under slot "a\\"b" but .* under slot "x\\ty"\.\nRun `bmux-x\ty` to/ });
});

t.test('stale build', async (t) => {
  const base = { buildId: 'cli-build' };
  const rows: [name: string, inputs: Partial<PolicyInputs>, result: string[] | string][] = [
    ['ignore', { ...base, staleBuildAction: 'ignore' }, []],
    ['warn', { ...base, staleBuildAction: 'warn' }, [stale('warning')]],
    ['error', { ...base, staleBuildAction: 'error' }, stale('error')],
    ['equal', { buildId: 'server-build', staleBuildAction: 'error' }, []],
    ['client build unknown', { staleBuildAction: 'error' }, []],
    ['no metadata', { ...base, meta: undefined, staleBuildAction: 'error' }, []],
    ['recovery', { ...base, staleBuildAction: 'error', scope: 'recovery_inspection' }, []],
    ['raw', { ...base, staleBuildAction: 'error', policy: false }, []],
  ];
  for (const [name, inputs, result] of rows) {
    const got = outcome(inputs);
    if (typeof result !== 'string') t.same(got, result, name);
    else t.hasStrict(got, { code: 'stale_build_refused', detail: result, exitStatus: 5 }, name);
  }
});

t.test('the slot is checked before the build', async (t) => {
  const got = outcome({ slot: 'dev', meta: meta('stable'), buildId: 'cli-build', staleBuildAction: 'error' });
  t.hasStrict(got, { code: 'cross_slot_refused' });
});
