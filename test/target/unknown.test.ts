// Tests which words are refused as targets, and what is suggested instead.
import t from 'tap';
import { resolveTarget } from '../../daemon/target/resolve.ts';
import { failureOf } from '../policy/failure-of.ts';
import { config, inputs } from './sample.ts';

t.test('unknown words are refused where that is asked for, with the nearest names', async (t) => {
  const settings = config({ targets: { prod: {}, 'prod-eu': {}, home: {} }, shareLinks: { work: 'home' } });
  const refused = (target: string) =>
    failureOf(() => resolveTarget(inputs({ target, config: settings, refusesUnknown: true })));
  t.match(await refused('prdo'), {
    code: 'target_unknown',
    exitStatus: 2,
    detail: "target 'prdo' is not configured; did you mean prod?",
  });
  t.match(await refused('pro'), { detail: /; did you mean prod or prod-eu\?$/ });
  t.match(await refused('bmux//work'), { detail: /; did you mean bmux:\/\/work\?$/ });
  t.match(await refused('xyz'), { detail: "target 'xyz' is not configured" });
  for (const known of ['home', 'local', '', 'bmux://work', 'tls://prdo'])
    t.ok(await resolveTarget(inputs({ target: known, config: settings, refusesUnknown: true })), known);
});
