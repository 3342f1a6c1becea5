// Ways that are made warm again: how often a dead one is dialled and its link is asked for, and what a drop ends.
import t, { type Test } from 'tap';
import { Reconnect, type Named, type Warmth } from '../../daemon/iroh/reconnect.ts';
import type { IrohRoute } from '../../daemon/engine-protocol/plan.ts';
import { waitFor } from '../real/child.ts';

const routeTo = (host: string): IrohRoute => ({ transport: 'iroh', endpointId: host, sshAuth: false });
const OFFICE = { label: 'office', link: 'bmux://office' };
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** `dial` and `ask` are the edge: what the network and control would do. Called with a host's name. */
function reconnecting(
  t: Test,
  edge: {
    readonly dial: (host: string) => boolean;
    readonly ask?: (host: string) => boolean;
    readonly warmth?: Warmth;
  },
) {
  const dials: string[] = [];
  const asks: string[] = [];
  const made = new Reconnect({
    recentMs: 60_000,
    tried: () => undefined,
    isWarm: () => false,
    isUnattended: () => true,
    warmth: () => edge.warmth ?? 'auto',
    dial: ({ endpointId }) => {
      dials.push(endpointId);
      return edge.dial(endpointId) ? Promise.resolve() : Promise.reject(new Error('refused'));
    },
    ask: ({ endpointId }) => {
      asks.push(endpointId);
      return edge.ask?.(endpointId) ?? true;
    },
  });
  t.teardown(() => {
    made.close();
  });
  /** As a target is unreferred at one upstream and referred at another; here both are routes of one host. */
  const move = (from: string, to: string, named: Named): void => {
    const state = made.unrefer(from, named);
    if (state !== undefined) made.refer(to, routeTo(to), named, state);
  };
  return { made, dials, asks, move };
}

t.test('a link that leads to and fro between two hosts that refuse', async (t) => {
  const { made, dials, asks, move } = reconnecting(t, {
    dial: () => false,
    ask: (host) => {
      const other = host === 'a' ? 'b' : 'a';
      setImmediate(() => {
        move(host, other, OFFICE);
      });
      return true;
    },
  });
  made.used('a', routeTo('a'), OFFICE);
  made.lost('a');
  await pause(2000);
  await waitFor('a second dial', () => dials.length >= 2);
  t.ok(dials.length <= 6, `${String(dials.length)} dials`);
  t.equal(asks.length, 1, 'in 5 s');
});

t.test('a host that accepts and closes is dialled ever more seldom', async (t) => {
  const { made, dials, asks } = reconnecting(t, {
    dial: (host) => {
      setTimeout(() => {
        made.lost(host);
      }, 10);
      return true;
    },
  });
  made.used('a', routeTo('a'), OFFICE);
  made.lost('a');
  await pause(2500);
  await waitFor('a second dial', () => dials.length >= 2);
  t.ok(dials.length <= 4, `${String(dials.length)} dials`);
  t.equal(asks.length, 1);
});

t.test('what was dropped is dialled nowhere, also not where its link leads by then', async (t) => {
  const { made, dials, move } = reconnecting(t, { dial: () => false });
  made.used('a', routeTo('a'), OFFICE);
  made.lost('a');
  made.forget('b');
  made.forgetNamed(OFFICE);
  move('a', 'b', OFFICE);
  await pause(600);
  t.same(dials, []);
});

t.test('a host that moved and comes back, and another target on its way', async (t) => {
  const { made, dials, move } = reconnecting(t, { dial: () => false });
  made.used('a', routeTo('a'), OFFICE);
  made.used('b', routeTo('b'), { label: 'home', link: undefined });
  move('a', 'b', OFFICE);
  t.equal(made.namedOf('b')?.label, 'home', 'its name is that of who has used it');
  t.same(dials, ['b']);
  made.lost('a');
  await pause(600);
  t.notOk(dials.includes('a'), 'nobody wants the former way');
  made.used('a', routeTo('a'), OFFICE);
  made.lost('a');
  await waitFor('a way that is used again', () => dials.includes('a'));
});

t.test('a link that nobody can ask for is tried three times', async (t) => {
  const { made, dials } = reconnecting(t, { dial: () => false, ask: () => false });
  made.used('a', routeTo('a'), OFFICE);
  made.lost('a');
  await waitFor('all tries', () => dials.length === 3);
  await pause(2500);
  t.equal(dials.length, 3);
});

t.test('a target that is not to be warm is not dialled by itself', async (t) => {
  const { made, dials, move } = reconnecting(t, { dial: () => true, warmth: false });
  made.used('a', routeTo('a'), OFFICE);
  made.lost('a');
  move('a', 'b', OFFICE);
  await pause(600);
  t.same(dials, []);
});

t.test('a way that its target has left is not made again until somebody uses it', async (t) => {
  const { made, dials } = reconnecting(t, { dial: () => false, warmth: true });
  const home = { label: 'home', link: undefined };
  made.used('a', routeTo('a'), home);
  t.equal(made.unrefer('a', OFFICE), undefined, 'that is for who has used it');
  t.ok(made.unrefer('a', home));
  made.lost('a');
  await pause(600);
  t.same(dials, []);
  made.used('a', routeTo('a'), home);
  made.lost('a');
  await waitFor('a way that is used again', () => dials.includes('a'));
});
