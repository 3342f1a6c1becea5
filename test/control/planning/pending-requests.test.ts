// Requests whose plan is being made: in time, late, left by their client, and given up by a daemon that stops.
import { Socket } from 'node:net';
import t from 'tap';
import { PendingRequests } from '../../../daemon/control/planning/pending-requests.ts';
import { fail } from '../../../daemon/errors/fail.ts';

const options = (socket: Socket, ms = 60_000) => ({
  socket,
  ms,
  gone: () => fail('stream_ended', { id: 'r1', who: 'its client' }),
  late: () => fail('out_of_time', { ms, step: 'bmuxd made the plan' }),
});
const never = (): Promise<never> => new Promise(() => undefined);

t.test('preparations', async (t) => {
  const all = new PendingRequests();
  const socket = new Socket();
  const nothingLeft = (what: string): void => {
    t.equal(all.size, 0, what);
    t.equal(socket.listenerCount('close'), 0, what);
  };

  t.equal(await all.run(() => Promise.resolve(1), options(socket)), 1);
  nothingLeft('of one that was made');
  await t.rejects(
    all.run(() => Promise.reject(new Error('no such target')), options(socket)),
    /no such target/,
  );
  nothingLeft('of one that failed');

  let asked: AbortSignal | undefined;
  const late = all.run(
    (signalOf) => {
      asked = signalOf();
      return never();
    },
    options(socket, 10),
  );
  t.equal(all.size, 1);
  await t.rejects(late, { code: 'out_of_time' });
  t.match(asked, { aborted: true, reason: { code: 'out_of_time' } });
  nothingLeft('of one that never ends');

  const stopped = all.run(never, options(socket));
  all.giveUpAll(fail('stopping'));
  await t.rejects(stopped, { code: 'stopping' });
  nothingLeft('of a daemon that stops');

  let signalOf: (() => AbortSignal) | undefined;
  const left = all.run((given) => {
    signalOf = given;
    return never();
  }, options(socket));
  socket.destroy();
  await t.rejects(left, { code: 'stream_ended' });
  t.match(signalOf?.(), { aborted: true }, 'who asks only now asks nobody');
  nothingLeft('of a client that left');
});
