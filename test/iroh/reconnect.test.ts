// Reconnects: how often a dead host is dialled, how often control is asked for its link, and what a drop ends.
import t, { type Test } from 'tap';
import { Reconnect, type Named, type Warmth } from '../../daemon/iroh/reconnect.ts';
import type { IrohRoute } from '../../daemon/engine-protocol/plan.ts';
import { waitFor } from '../real/child.ts';

const routeTo = (host: string): IrohRoute => ({ transport: 'iroh', endpointId: host, sshAuth: false });
const OFFICE = { label: 'office', link: 'bmux://office' };
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** `dial` and `ask` do what the network and control would do. They are called with the name of a host. */
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
  /** Moves a target from one route to another. In the engine the routes may belong to two upstreams; here they belong to one host. */
  const move = (from: string, to: string, named: Named): void => {
    const state = made.unrefer(from, named);
    if (state !== undefined) made.refer(to, routeTo(to), named, state);
  };
  return { made, dials, asks, move };
}

t.test(
  'a link that alternates between two hosts that refuse: few dials, and one question in 5 s',
  async (t) => {
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
    t.equal(asks.length, 1, 'one question in 5 s');
  },
);

t.test('a host that accepts and closes is dialled with growing pauses', async (t) => {
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

t.test('a dropped target is not dialled, also not at a new route of its link', async (t) => {
  const { made, dials, move } = reconnecting(t, { dial: () => false });
  made.used('a', routeTo('a'), OFFICE);
  made.lost('a');
  made.forget('b');
  made.forgetNamed(OFFICE);
  move('a', 'b', OFFICE);
  await pause(600);
  t.same(dials, []);
});

t.test('a target that moves away is not dialled at its former route until that is used again', async (t) => {
  const { made, dials, move } = reconnecting(t, { dial: () => false });
  made.used('a', routeTo('a'), OFFICE);
  made.used('b', routeTo('b'), { label: 'home', link: undefined });
  move('a', 'b', OFFICE);
  t.equal(made.namedOf('b')?.label, 'home', 'its name is that of the target that has used it');
  t.same(dials, ['b']);
  made.lost('a');
  await pause(600);
  t.notOk(dials.includes('a'), 'the former route is not dialled');
  made.used('a', routeTo('a'), OFFICE);
  made.lost('a');
  await waitFor('a dial of the route that is used again', () => dials.includes('a'));
});

t.test('the host of a link is dialled three times when control cannot be asked', async (t) => {
  const { made, dials } = reconnecting(t, { dial: () => false, ask: () => false });
  made.used('a', routeTo('a'), OFFICE);
  made.lost('a');
  await waitFor('all attempts', () => dials.length === 3);
  await pause(2500);
  t.equal(dials.length, 3);
});

t.test('a target that is not kept warm is not dialled in the background', async (t) => {
  const { made, dials, move } = reconnecting(t, { dial: () => true, warmth: false });
  made.used('a', routeTo('a'), OFFICE);
  made.lost('a');
  move('a', 'b', OFFICE);
  await pause(600);
  t.same(dials, []);
});

t.test('there is no reconnect by a route that its target has left, until a request uses it', async (t) => {
  const { made, dials } = reconnecting(t, { dial: () => false, warmth: true });
  const home = { label: 'home', link: undefined };
  made.used('a', routeTo('a'), home);
  t.equal(made.unrefer('a', OFFICE), undefined, 'another target has used the route last');
  t.ok(made.unrefer('a', home));
  made.lost('a');
  await pause(600);
  t.same(dials, []);
  made.used('a', routeTo('a'), home);
  made.lost('a');
  await waitFor('a dial of the route that is used again', () => dials.includes('a'));
});

t.test('after a change of the network the attempt that waits is made at once', async (t) => {
  let isUp = false;
  const { made, dials } = reconnecting(t, { dial: () => isUp });
  made.used('a', routeTo('a'), OFFICE);
  made.lost('a');
  // The next pause is 1 s or longer.
  await waitFor('three attempts', () => dials.length === 3);
  await waitFor('the next attempt to wait', () => made.isWaiting);
  isUp = true;
  made.hurry();
  t.equal(dials.length, 4);
  t.equal(made.isWaiting, false);
  made.hurry();
  t.equal(dials.length, 4, 'nothing waits any more');
});
