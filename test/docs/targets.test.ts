// Checks docs/targets.md: every target in it leads somewhere.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { TargetSchema } from '../../daemon/config/bmux/schema.ts';
import { resolveTarget } from '../../daemon/target/resolve.ts';
import { compose } from '../config/bmux/composed.ts';
import { repositoryRoot } from '../real/index.ts';
import { inputs } from '../target/sample.ts';

const page = await readFile(join(repositoryRoot(), 'docs/targets.md'), 'utf8');
const examples = [...page.matchAll(/```toml\n([\s\S]*?)```/g)].map(([, text = '']) => text);

t.test('the targets of the examples lead somewhere', async (t) => {
  const transports = new Set<string>();
  for (const text of examples.filter((one) => one.includes('[connections'))) {
    const { config, warnings } = compose(text);
    t.strictSame(warnings, []);
    const { targets, shareLinks } = config.connections;
    for (const name of [...targets.keys(), ...[...shareLinks.keys()].map((link) => `bmux://${link}`)]) {
      const { route } = await resolveTarget(inputs({ target: name, config }));
      transports.add(route.transport);
    }
  }
  t.strictSame(
    [...transports].sort(),
    [...TargetSchema.properties.transport.enum].sort(),
    'one of each kind',
  );
});

t.test('the addresses lead where the page says', async (t) => {
  const written = [...page.matchAll(/`((?:tls|https|iroh|ssh):\/\/[^`]+|\w+@[^`]+)`/g)].map(
    ([, one = '']) => one,
  );
  t.ok(written.length > 4);
  for (const target of written) {
    const scheme = /^(\w+):/.exec(target)?.[1] ?? 'ssh';
    const { route } = await resolveTarget(inputs({ target }));
    t.equal(route.transport, scheme === 'https' ? 'tls' : scheme, target);
  }
});
