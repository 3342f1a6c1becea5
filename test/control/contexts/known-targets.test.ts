// Which names count as known, and for whom.
import t from 'tap';
import type { CurrentConfig } from '../../../daemon/config/bmux/source.ts';
import { KnownTargets } from '../../../daemon/control/contexts/known-targets.ts';

function configWith(names: readonly string[], more: Partial<CurrentConfig> = {}): CurrentConfig {
  const config = { connections: { targets: new Map(names.map((name) => [name, {}])) } };
  return { config, warnings: [], reads: new Map(), facts: '', ...more } as unknown as CurrentConfig;
}

t.test('a name that a config has had stays known', (t) => {
  const known = new KnownTargets();
  known.add('k', configWith(['one', 'two']));
  known.add('k', configWith(['two']));
  known.add('k', configWith([]));
  const has = (name: string, key = 'k') => known.has(name, { key, env: { HOME: '/h' }, facts: 'f' });
  t.ok(has('one'));
  t.ok(has('two'));
  t.notOk(has('three'));
  t.notOk(has('one', 'other'), 'in another context');
  t.end();
});

t.test('a name of other callers is not known', (t) => {
  const known = new KnownTargets();
  known.add('k', configWith(['laptop'], { reads: new Map([['HOST', 'laptop']]) }));
  known.add('k', configWith(['here'], { facts: 'in /here' }));
  const has = (name: string, HOST: string, facts = '') => known.has(name, { key: 'k', env: { HOST }, facts });
  t.ok(has('laptop', 'laptop'));
  t.notOk(has('laptop', 'desktop'), 'the config depends on HOST');
  t.ok(has('here', 'desktop', 'in /here'));
  t.notOk(has('here', 'desktop', 'in /there'), 'the config depends on the folder of the caller');
  t.end();
});
