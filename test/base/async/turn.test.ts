// Tests daemon/base/async/turn.ts: however many busy streams there are, few go on in each turn of the event loop.
import t from 'tap';
import { nextTurn, StreamTurns } from '../../../daemon/base/async/turn.ts';

t.test('many busy streams go on a few in each turn, each after the same number of others', async (t) => {
  let turn = 0;
  let isOver = false;
  const count = (): void => {
    turn += 1;
    if (!isOver) setImmediate(count);
  };
  count();
  const wentOn: { readonly stream: number; readonly turn: number }[] = [];
  for (let stream = 0; stream < 32; stream += 1) {
    const turns = new StreamTurns();
    const work = (): void => {
      wentOn.push({ stream, turn });
      if (!isOver) turns.next(work);
    };
    turns.next(work);
  }
  while (wentOn.length < 320) await nextTurn();
  isOver = true;
  const inTurn = new Map<number, number>();
  for (const { turn } of wentOn) inTurn.set(turn, (inTurn.get(turn) ?? 0) + 1);
  t.ok(Math.max(...inTurn.values()) <= 4, `${String(Math.max(...inTurn.values()))} in one turn`);
  t.same(
    wentOn.slice(0, 320).map(({ stream }) => stream),
    Array.from({ length: 320 }, (_, at) => at % 32),
  );
});

t.test('a stream whose share has lasted waits for none of them', async (t) => {
  const busy = Array.from({ length: 64 }, () => new StreamTurns());
  let rounds = 0;
  let isOver = false;
  const work = (turns: StreamTurns): void => {
    rounds += 1;
    if (isOver) return;
    turns.next(() => {
      work(turns);
    });
  };
  const calm = new StreamTurns();
  for (const turns of busy) work(turns);
  while (rounds < 64 * 8) await nextTurn();
  let hasGoneOn = false;
  calm.next(() => {
    hasGoneOn = true;
  });
  await nextTurn();
  isOver = true;
  t.equal(hasGoneOn, true);
});

t.test('a stream that has ended does not go on', async (t) => {
  const [one, other] = [new StreamTurns(), new StreamTurns()];
  let went = '';
  const stop = one.next(() => (went += 'one'));
  await new Promise<void>((resolve) => {
    other.next(() => {
      went += 'other';
      resolve();
    });
    stop();
  });
  t.equal(went, 'other');
});
