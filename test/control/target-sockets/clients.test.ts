// Whose agents serve the target sockets of a context, when several ask for one at the same time.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import t from 'tap';
import { Contexts } from '../../../daemon/control/contexts/contexts.ts';
import { KnownContexts } from '../../../daemon/control/target-sockets/client-file.ts';
import { askedAfter, type Asking } from '../../../daemon/control/target-sockets/clients.ts';
import { ServedContexts } from '../../../daemon/control/target-sockets/client-store.ts';

t.test('two that were asked for while both looked up their targets', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'bmuxd-served-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  const own = { env: { HOME: dir }, cwd: dir };
  const contexts = new Contexts({
    env: {},
    own: own.env,
    cwd: dir,
    max: () => 4,
    isPinned: () => false,
    onChange: () => undefined,
    event: () => undefined,
    log: pino({ level: 'silent' }),
  });
  t.teardown(() => contexts.close());
  const known = new KnownContexts({ path: join(dir, 'contexts.json'), warn: (text) => t.fail(text) });
  const served = new ServedContexts({ dir, known, contexts, own });
  await served.load();
  const view = await contexts.view({});
  const asking = (agent?: string): Asking => ({
    env: { HOME: dir, ...(agent === undefined ? {} : { SSH_AUTH_SOCK: agent }) },
    cwd: dir,
    slot: undefined,
  });
  const agents = (): readonly string[] | undefined => served.get(join(dir, 'targets'))?.asked.agents;
  /** As `ensure` does: what is there now decides what is made, and others may come through before it is. */
  const begin = (who: Asking) => {
    const place = served.placeOf(who, view);
    const made = askedAfter(place.served, who);
    return () => served.use(place, who, made);
  };
  begin(asking('/old'))();
  const [job, login, other] = [begin(asking()), begin(asking('/login')), begin(asking('/other'))];
  t.equal(login(), true, 'another agent: the plans of all are made anew');
  t.equal(job(), true, 'it was made without that');
  t.strictSame(agents(), ['/login', '/old'], 'a job without an agent takes nobody away');
  other();
  t.strictSame(agents(), ['/other', '/login', '/old'], 'nor does another login');
  t.equal(begin(asking())(), false, 'nothing is new by it');
});
