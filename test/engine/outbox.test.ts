// What an engine tells control: in its order, in batches, and said at once to be lost when control has gone.
import t from 'tap';
import type { Channel } from '../../daemon/engine/channel.ts';
import { Outbox } from '../../daemon/engine/outbox.ts';
import type { FromEngine, OneFromEngine } from '../../daemon/engine-protocol/messages.ts';
import { waitFor } from '../real/child.ts';

const line = (text: string): OneFromEngine => ({ type: 'log', line: text });
const QUESTION: OneFromEngine = { type: 'resolve', id: 1, requestId: 'r1' };

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
  const outbox = new Outbox(end.channel);
  outbox.send(line('a'));
  outbox.send(line('b'));
  t.same(end.left, []);
  outbox.send(QUESTION);
  outbox.send(QUESTION);
  t.same(end.left, [], 'those of one turn leave together');
  await waitFor('them to leave', () => end.left.length === 1);
  t.same(end.left, [{ type: 'batch', messages: [line('a'), line('b'), QUESTION, QUESTION] }]);
  outbox.send(line('c'));
  await waitFor('the last one to leave by itself', () => end.left.length === 2);
  t.same(end.left[1], line('c'));
  const refused: OneFromEngine = { type: 'event', event: { type: 'stream refused', atMs: 1 } };
  outbox.send(refused);
  t.same(end.left[2], refused, 'whoever was refused may ask at once');
});

t.test('control goes: what waited is told before what comes', (t) => {
  const end = new Edge();
  const outbox = new Outbox(end.channel);
  const lost: string[] = [];
  for (const text of ['a', 'b']) outbox.send(line(text), (error) => error !== null && lost.push(text));
  end.open = false;
  t.equal(outbox.send(line('c')), false);
  t.same(lost, ['a', 'b']);
  t.same(end.left, []);
  t.end();
});
