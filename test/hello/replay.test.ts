// Which bytes may be sent a second time.
import fc from 'fast-check';
import t from 'tap';
import { MAX_REPLAY_BYTES, mayReplay, ReplayLog } from '../../daemon/hello/replay.ts';
import { encodeFrame } from '../../daemon/bmux-ipc/frame.ts';
import { encodeEnvelope, encodeRequest, encodeRequestFrame } from '../../daemon/bmux-ipc/ipc.ts';
import * as any from '../bmux-ipc/arbitraries.ts';

const HARMLESS = ['ping', 'whoami', 'server_status'];

t.test(
  'only whole frames of requests that change nothing, in the epoch of the stream, may be sent again',
  async () => {
    fc.assert(
      fc.property(
        any.epoch,
        fc.array(fc.tuple(any.request, any.u64), { maxLength: 5 }),
        fc.uint8Array({ maxLength: 6 }),
        (epoch, asked, tail) => {
          const frames = asked.map(([one, id]) => encodeRequestFrame(one.epoch, id, one.request));
          const harmless = asked.every(([one]) => one.epoch === epoch && HARMLESS.includes(one.request.type));
          const whole = Buffer.concat(frames);
          const cut = whole.subarray(0, -1);
          return (
            mayReplay(epoch, whole) === harmless &&
            !(tail.length > 0 && mayReplay(epoch, Buffer.concat([whole, tail]))) &&
            !(whole.length > 0 && mayReplay(epoch, cut))
          );
        },
      ),
      { numRuns: 300 },
    );
  },
);

t.test('where the last byte was not delivered, the last frame may be any request', async (t) => {
  const ping = encodeRequestFrame(4, 2n, { type: 'ping' });
  const stop = encodeRequestFrame(4, 3n, { type: 'server_stop' });
  for (const [name, frames, may] of [
    ['one request', [stop], true],
    ['the last one', [ping, stop], true],
    ['one before it', [stop, ping], false],
    ['a part of one', [ping, stop.subarray(0, 5)], true],
    ['one before a part', [stop, ping.subarray(0, 5)], false],
  ] as const) {
    t.equal(mayReplay(4, Buffer.concat(frames), 'last byte'), may, name);
    t.ok(mayReplay(4, Buffer.concat(frames), 'all'), name);
  }
});

t.test('an answer, an event and a damaged request may not be sent again', async (t) => {
  const payload = encodeRequest(4, { type: 'ping' });
  for (const kind of ['response', 'event'] as const)
    t.notOk(mayReplay(4, encodeFrame(encodeEnvelope({ version: 4, requestId: 1n, kind, payload }))), kind);
  const request = { version: 4, requestId: 1n, kind: 'request' } as const;
  t.notOk(
    mayReplay(4, encodeFrame(encodeEnvelope({ ...request, payload: Buffer.of(1, 0) }))),
    'one more byte',
  );
  t.notOk(mayReplay(4, encodeFrame(Buffer.of(0xff))), 'an invalid envelope');
  t.notOk(mayReplay(4, Buffer.alloc(8, 0xff)), 'an invalid frame');
  t.ok(mayReplay(4, Buffer.alloc(0)), 'no bytes');
});

t.test('the log keeps copies of the bytes, up to MAX_REPLAY_BYTES', async (t) => {
  const ping = encodeRequestFrame(4, 2n, { type: 'ping' });
  const log = new ReplayLog();
  const chunk = Buffer.from(ping);
  log.add([chunk.subarray(0, 3), chunk.subarray(3)]);
  chunk.fill(0);
  t.strictSame(log.harmless(4), ping);
  t.equal(log.harmless(3), undefined);
  const fits = Math.floor(MAX_REPLAY_BYTES / ping.length);
  const full = new ReplayLog();
  for (let turn = 0; turn < fits; turn += 1) full.add([ping]);
  t.equal(full.harmless(4)?.length, fits * ping.length);
  full.add([ping]);
  t.equal(full.harmless(4), undefined);
  full.add([]);
  t.equal(full.harmless(4), undefined, 'nothing is recorded after that');
});
