// The optimistic stream, and an answer that comes late.
import t from 'tap';
import { encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import { holdTimers } from '../../base/async/held-timers.ts';
import { answer, EPOCH, HELLO, Rig, turns } from './rig.ts';

const PING = encodeRequestFrame(EPOCH, 2n, { type: 'ping' });
const STOP = encodeRequestFrame(EPOCH, 2n, { type: 'server_stop' });

t.test('a slow server loses no stream whose request may not be sent again', async (t) => {
  const timers = holdTimers(t);
  const passes = async (ms: number): Promise<void> => {
    await timers.pass(ms);
    await turns();
  };
  const slow = new Rig({ answerMs: 1000, limitMs: 8000 });
  slow.write(STOP);
  await passes(1000);
  t.strictSame(slow.log, ['late'], 'the next caller waits for the server');
  await passes(6999);
  slow.now.far.write(Buffer.concat([answer(), Buffer.from('stopping')]));
  await turns();
  t.strictSame(slow.log, ['late', 'confirmed']);
  t.equal(slow.heard.toString(), 'stopping');
  t.strictSame(slow.now.heard, Buffer.concat([HELLO, STOP]), 'it is sent once');
  await passes(60_000);
  t.notOk(slow.closed);
  await slow.finish();

  const silent = new Rig({ answerMs: 1000, limitMs: 8000 });
  silent.write(STOP);
  await passes(1000);
  await passes(6999);
  t.notOk(silent.closed);
  await passes(1);
  t.match(silent.error, { code: 'hello_timeout', message: /within 8000 ms/ });
  t.equal(silent.reopens, 0);
  await silent.finish();

  const harmless = new Rig({ answerMs: 1000, limitMs: 8000 });
  harmless.write(PING);
  await passes(1000);
  t.strictSame(harmless.log, ['failed', 'end 0', 'reopen'], 'what may be sent again is, at once');
  await harmless.finish();
});
