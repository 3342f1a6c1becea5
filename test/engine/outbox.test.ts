// What an engine tells control: in its order, together where control reads that, and said at once to be lost when control has gone.
import t from 'tap';
import type { Channel } from '../../daemon/engine/channel.ts';
import { Outbox } from '../../daemon/engine/outbox.ts';
import type { FromEngine, OneFromEngine } from '../../daemon/engine-protocol/messages.ts';
import { waitFor } from '../real/child.ts';

const line = (text: string): OneFromEngine => ({ type: 'log', line: text });
const SETTLED: OneFromEngine = { type: 'settled', handoff: 1 };

/** The edge of the process: what has left it, and whether somebody is there. */
class Edge {
  readonly left: FromEngine[] = [];
  open = true;
  readonly channel: Channel = {
    isOpen: () => this.open,
    send: (message, sent) => {
      this.left.push(message);
      setImmediate(sent, null);
    },
    onMessage: () => undefined,
    onGone: () => undefined,
    exit: () => undefined,
  };
}

t.test('what can wait goes with what cannot, in order', async (t) => {
  const end = new Edge();
  const outbox = new Outbox(end.channel, true);
  outbox.send(line('a'));
  outbox.send(line('b'));
  t.same(end.left, []);
  outbox.send(SETTLED);
  t.same(end.left, [{ type: 'together', messages: [line('a'), line('b'), SETTLED] }]);
  outbox.send(line('c'));
  await waitFor('the last one to leave by itself', () => end.left.length === 2);
  t.same(end.left[1], line('c'));
  const refused: OneFromEngine = { type: 'event', event: { type: 'stream refused', atMs: 1 } };
  outbox.send(refused);
  t.same(end.left[2], refused, 'whoever was refused may ask at once');
});

t.test('a control that does not read several in one gets each alone', (t) => {
  const end = new Edge();
  const outbox = new Outbox(end.channel, false);
  outbox.send(line('a'));
  outbox.send(SETTLED);
  t.same(end.left, [line('a'), SETTLED]);
  t.end();
});

t.test('control goes: what waited is told before what comes', (t) => {
  const end = new Edge();
  const outbox = new Outbox(end.channel, true);
  const lost: string[] = [];
  for (const text of ['a', 'b']) outbox.send(line(text), (error) => error !== null && lost.push(text));
  end.open = false;
  t.equal(outbox.send(line('c')), false);
  t.same(lost, ['a', 'b']);
  t.same(end.left, []);
  t.end();
});
