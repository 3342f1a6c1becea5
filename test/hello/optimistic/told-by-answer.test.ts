// A client of a target socket learns why its requests get no answer.
import t from 'tap';
import { decodeEnvelope } from '../../../daemon/bmux-ipc/envelope.ts';
import { FrameReader } from '../../../daemon/bmux-ipc/frame.ts';
import { encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import { decodeResponse } from '../../../daemon/bmux-ipc/response.ts';
import { fail } from '../../../daemon/errors/fail.ts';
import { SshEnd } from '../../../daemon/transport/ssh/failures.ts';
import { answer, EPOCH, Rig, turns } from './rig.ts';

const PING = encodeRequestFrame(EPOCH, 2n, { type: 'ping' });
const STOP = encodeRequestFrame(EPOCH, 2n, { type: 'server_stop' });

/** Request id and text of each answer. */
function answers(bytes: Buffer): string[] {
  const reader = new FrameReader();
  reader.push(bytes);
  const found: string[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
    const { requestId, payload } = decodeEnvelope(frame);
    const told = decodeResponse(EPOCH, payload);
    found.push(`${String(requestId)} ${told.type === 'error' ? told.message : told.type}`);
  }
  return found;
}

t.test('a client of a target socket gets the failure as the answer to each request', async (t) => {
  const lost = new Rig({ toldByAnswer: true });
  lost.write(Buffer.concat([STOP, STOP]));
  await turns();
  lost.now.far.end();
  await turns();
  t.match(answers(lost.heard), [
    /^2 .*closed without an answer. Run .*\[optimistic_open_failed\]$/,
    /^2 .*\[optimistic_open_failed\]$/,
  ]);
  t.match(lost.error, { code: 'optimistic_open_failed' }, 'the stream is lost all the same');
  await lost.finish();

  const refused = new Rig({ toldByAnswer: true });
  refused.write(PING);
  await turns();
  refused.now.far.end();
  await turns();
  refused.write(STOP);
  await turns();
  refused.give?.(fail('ssh_server_not_running', { label: 'prod' }));
  await turns();
  const why = /^2 .*\[ssh_server_not_running\]$/;
  t.match(
    answers(refused.heard),
    [why, why],
    'why there is no other stream, also to a request that waits for one',
  );
  await refused.finish();

  const unasked = new Rig({ toldByAnswer: true });
  unasked.write(Buffer.from('no frame of bmux'));
  await turns();
  unasked.now.far.end();
  await turns();
  t.strictSame(unasked.heard.length, 0);
  await unasked.finish();
});

t.test('a spare has answered, and its server ends before it answers the request', async (t) => {
  const rig = new Rig({ toldByAnswer: true });
  rig.now.far.write(answer());
  await turns();
  t.equal(rig.confirmed, 1);
  rig.write(STOP);
  await turns();
  rig.now.near.destroy(new Error('read ECONNRESET'));
  await turns();
  t.match(answers(rig.heard), [/^2 the stream through bmuxd broke: read ECONNRESET\. .*\[stream_lost\]$/]);
  t.match(rig.error, { message: 'read ECONNRESET' });
  await rig.finish();

  const again = new Rig();
  again.failsLate = true;
  again.now.far.write(answer());
  await turns();
  again.write(STOP);
  await turns();
  again.now.near.destroy(new SshEnd(fail('ssh_server_ended', { label: 'prod' }), 'last byte'));
  await turns();
  again.fresh().far.write('done');
  await turns();
  t.strictSame(again.now.heard, STOP, 'what has reached no server is sent again');
  t.equal(again.heard.toString(), 'done');
  again.now.near.destroy(new SshEnd(fail('ssh_server_ended', { label: 'prod' }), 'all'));
  await turns();
  t.match(again.error, { code: 'ssh_server_ended' }, 'but not after an answer');
  t.equal(again.reopens, 1);
  await again.finish();
});
