// Dials that callers share. The test decides when each dial reaches its host, succeeds or fails.
import t from 'tap';
import { Deadline, inTime } from '../../daemon/base/async/deadline.ts';
import { LIMITS } from '../../daemon/base/limits.ts';
import { Dials, type Connect } from '../../daemon/iroh/dials.ts';
import { holdTimers } from '../base/async/held-timers.ts';
import { waitFor } from '../real/index.ts';

interface Made {
  /** The host has answered; the dial is authenticating until `done`. */
  readonly through: () => void;
  readonly done: (value: string) => void;
  readonly fails: (error: Error) => void;
  readonly aborted: () => boolean;
}

function rig() {
  const made: Made[] = [];
  const connect: Connect<string> = async (dialling, through) => {
    await Promise.resolve();
    dialling.signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      let aborted = false;
      dialling.signal.addEventListener('abort', () => {
        aborted = true;
        reject(dialling.signal.reason instanceof Error ? dialling.signal.reason : new Error('aborted'));
      });
      made.push({ through, done: resolve, fails: reject, aborted: () => aborted });
    });
  };
  const dials = new Dials<string>();
  const ask = (
    ms = 20_000,
    { signal }: AbortController = new AbortController(),
    wanted = false,
  ): Promise<string | undefined> =>
    dials.wait(
      'host',
      connect,
      { deadline: new Deadline(ms), signal },
      (step) => new Error(`late while ${step}`),
      wanted,
    );
  return { made, dials, connect, ask };
}

/** Waits until a dial is too old to be joined. */
const age = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1100));

t.test('callers at the same time share a dial', async (t) => {
  const { made, dials, ask } = rig();
  const both = [ask(), ask()];
  await waitFor('the dial', () => made.length === 1);
  t.strictSame(dials.keys(), ['host']);
  made[0]?.done('connection');
  t.strictSame(await Promise.all(both), ['connection', 'connection']);
  t.strictSame(dials.keys(), [], 'no dial is left');
});

t.test(
  'a second dial is started beside an old one, and the first that reaches the host is used',
  async (t) => {
    const { made, ask } = rig();
    const old = ask();
    await age();
    const fresh = ask();
    await waitFor('a second dial', () => made.length === 2);
    made[1]?.through();
    t.ok(made[0]?.aborted(), 'the old dial is aborted');
    t.equal(await old, undefined, 'its caller tries again');
    await age();
    const third = ask();
    made[1]?.done('connection');
    t.strictSame(
      [await fresh, await third],
      ['connection', 'connection'],
      'a dial that has reached the host is joined at any age',
    );
    t.equal(made.length, 2);
  },
);

t.test('each caller has a separate deadline, and its error names the step that was running', async (t) => {
  const { made, ask } = rig();
  await t.rejects(ask(20), { message: 'late while connecting' });
  const waiting = ask();
  await waitFor('the dial', () => made.length > 0);
  for (const one of made) one.through();
  await t.rejects(ask(20), { message: 'late while authenticating' });
  for (const one of made) one.fails(new Error('no such key'));
  await t.rejects(waiting, { message: 'no such key' });
});

t.test('a dial to a host that never answers has a time of its own', async (t) => {
  const timers = holdTimers(t);
  const connect: Connect<string> = ({ deadline }) =>
    inTime(new Promise(() => undefined), deadline.remaining(), () => new Error('the dial is late'));
  const limits = { deadline: new Deadline(10 * LIMITS.irohDialMs), signal: new AbortController().signal };
  const waiting = new Dials<string>().wait(
    'host',
    connect,
    limits,
    () => new Error('the caller is late'),
    false,
  );
  const late = t.rejects(waiting, { message: 'the dial is late' });
  await timers.pass(LIMITS.irohDialMs);
  await late;
});

t.test('there are at most four dials of a key, and close aborts them all', async (t) => {
  const { made, dials, ask } = rig();
  const all: Promise<unknown>[] = [];
  for (let turn = 0; turn < 6; turn += 1) {
    all.push(ask().catch((error: unknown) => error));
    await age();
  }
  t.equal(made.length, 4);
  await dials.close(new Error('stopping'));
  t.ok(made.every(({ aborted }) => aborted()));
  for (const end of await Promise.all(all)) t.match(end, { message: 'stopping' });
  await t.rejects(ask(), { message: 'stopping' }, 'no dial begins after close');
});

t.test('a dial that was passed is only for callers that wait already', async (t) => {
  const { made, dials, ask } = rig();
  const first = ask();
  await waitFor('a dial', () => made.length === 1);
  dials.pass((key) => key === 'host');
  t.equal(made[0]?.aborted(), false);
  const second = ask();
  await waitFor('another dial for a later caller', () => made.length === 2);
  made[0]?.through();
  t.equal(made[1]?.aborted(), false, 'a passed dial does not abort the others');
  made[0]?.done('former');
  made[1]?.done('new');
  t.same(await Promise.all([first, second]), ['former', 'new']);

  const late = t.rejects(ask(50), /late while connecting/);
  await waitFor('a dial', () => made.length === 3);
  await late;
  t.equal(made[2]?.aborted(), false, 'it goes on without a caller');
  dials.pass(() => true);
  t.equal(made[2]?.aborted(), true, 'a passed dial without a caller is aborted');
  t.same(dials.keys(), ['host'], 'its key is there until it is over');
  await waitFor('its end', () => dials.keys().length === 0);
});

t.test(
  'a dial ends with the last caller that hangs up, unless it is wanted or a person may be asked',
  async (t) => {
    const hangUp = async (one: AbortController, asked: Promise<unknown>): Promise<void> => {
      one.abort(new Error('enough'));
      await t.rejects(asked, { message: 'enough' });
    };
    await t.test('nobody else waits', async (t) => {
      const { made, ask } = rig();
      const callers = [new AbortController(), new AbortController()] as const;
      const asked = [ask(20_000, callers[0]), ask(20_000, callers[1])] as const;
      await waitFor('the dial', () => made.length === 1);
      await hangUp(callers[0], asked[0]);
      t.equal(made[0]?.aborted(), false, 'another caller waits');
      await hangUp(callers[1], asked[1]);
      t.equal(made[0]?.aborted(), true);
    });
    await t.test('the agent may be asking a person', async (t) => {
      const { made, ask } = rig();
      const caller = new AbortController();
      const asked = ask(20_000, caller);
      await waitFor('the dial', () => made.length === 1);
      made[0]?.through();
      await hangUp(caller, asked);
      t.equal(made[0]?.aborted(), false);
      made[0]?.done('connection');
    });
    await t.test('the target is kept warm, or the host is reconnected to', async (t) => {
      for (const wanted of [true, false]) {
        const { made, dials, connect, ask } = rig();
        const caller = new AbortController();
        const asked = ask(20_000, caller, wanted);
        if (!wanted) void dials.join('host', connect);
        await waitFor('the dial', () => made.length === 1);
        await hangUp(caller, asked);
        t.equal(made[0]?.aborted(), false);
        made[0]?.done('connection');
      }
    });
  },
);
