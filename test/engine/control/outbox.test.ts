// Tests the messages of an engine to control: they are sent in order and in batches, and reported as lost when control is gone.
import t from 'tap';
import { nextTurn } from '../../../daemon/base/async/turn.ts';
import type { Channel } from '../../../daemon/engine/control/channel.ts';
import { Outbox } from '../../../daemon/engine/control/outbox.ts';
import type { FromEngine, OneFromEngine } from '../../../daemon/engine-protocol/messages.ts';
import { waitFor } from '../../real/child.ts';

const line = (text: string): OneFromEngine => ({ type: 'log', line: text });
const QUESTION: OneFromEngine = { type: 'resolve', id: 1, requestId: 'r1' };

/** A fake channel to control: `sent` is what was sent, `open` says whether control is there. */
class Edge {
  readonly sent: FromEngine[] = [];
  open = true;
  readonly channel: Channel = {
    isOpen: () => this.open,
    send: (message, whenSent) => {
      this.sent.push(message);
      setImmediate(whenSent, null);
    },
    onMessage: () => undefined,
    onGone: () => undefined,
    exit: () => undefined,
  };
}

t.test('messages that can wait are sent in one batch with a message that cannot, in order', async (t) => {
  const end = new Edge();
  const outbox = new Outbox(end.channel);
  outbox.send(line('a'));
  outbox.send(line('b'));
  t.same(end.sent, []);
  outbox.send(QUESTION);
  outbox.send(QUESTION);
  t.same(end.sent, [], 'messages of one turn of the event loop are sent at its end');
  await waitFor('the batch to be sent', () => end.sent.length === 1);
  t.same(end.sent, [{ type: 'batch', messages: [line('a'), line('b'), QUESTION, QUESTION] }]);
  outbox.send(line('c'));
  await waitFor('a message that can wait to be sent after a time', () => end.sent.length === 2);
  t.same(end.sent[1], line('c'));
  const refused: OneFromEngine = { type: 'event', event: { type: 'stream refused', atMs: 1 } };
  outbox.send(refused);
  outbox.send(refused);
  // As those do who answer the client of a refusal.
  await nextTurn();
  t.same(end.sent[2], { type: 'batch', messages: [refused, refused] }, 'refusals of one turn');
  const other: OneFromEngine = { type: 'event', event: { type: 'connection lost', atMs: 1 } };
  outbox.send(other);
  t.same(end.sent[3], other, 'another event is sent at once');
});

t.test('when control is gone, waiting messages are reported as lost before a new one is refused', (t) => {
  const end = new Edge();
  const outbox = new Outbox(end.channel);
  const lost: string[] = [];
  for (const text of ['a', 'b']) outbox.send(line(text), (error) => error !== null && lost.push(text));
  end.open = false;
  t.equal(outbox.send(line('c')), false);
  t.same(lost, ['a', 'b']);
  t.same(end.sent, []);
  t.end();
});
