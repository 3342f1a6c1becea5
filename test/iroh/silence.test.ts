// Tests live streams on a connection whose host falls silent: when they are ended, and when they go on.
import t from 'tap';
import type { Duplex } from 'node:stream';
import { LIMITS } from '../../daemon/base/limits.ts';
import { defaultSettings } from '../../daemon/config/settings/table.ts';
import { Transports } from '../../daemon/engine/upstream/transports.ts';
import { holdTimers } from '../base/async/held-timers.ts';
import { NO_ENGINE } from '../hello/cold.ts';
import { halt } from '../real/index.ts';
import { greet, poolFor, routeTo, serve, wait } from './rig.ts';

/** ms in which a stream is told of its lost host, on a busy machine. QUIC would take 30 s. */
const TOLD_MS = 20_000;

/** Resolves with the text of the error with which the stream has closed. */
function lossOf(stream: Duplex): Promise<string> {
  return new Promise((resolve) => {
    stream.once('error', (error) => {
      resolve(error.message);
    });
    stream.once('close', () => {
      resolve('closed without an error');
    });
  });
}

t.test('a host that is killed, stopped, or stopped beyond the limit', async (t) => {
  const [killed, stopped, beyond] = await Promise.all([serve(t), serve(t), serve(t)]);
  const usual = poolFor(t, { silenceMs: () => 30_000 });
  const short = poolFor(t, { silenceMs: () => 5000 });
  const toKilled = await usual.stream(routeTo(killed), wait());
  const toStopped = await usual.stream(routeTo(stopped), wait());
  const toBeyond = await short.stream(routeTo(beyond), wait());
  await greet(toKilled);
  const client = await greet(toStopped);
  await greet(toBeyond);
  const losses = [lossOf(toKilled.stream), lossOf(toBeyond.stream)] as const;
  let isLost = false;
  void lossOf(toStopped.stream).then(() => {
    isLost = true;
  });

  for (const { pid } of [stopped, beyond]) {
    await halt(pid);
    t.teardown(() => process.kill(pid, 'SIGCONT'));
  }
  await killed.kill();
  const since = performance.now();
  void losses[0].then(() =>
    t.comment(`killed: told after ${String(Math.round(performance.now() - since))} ms`),
  );
  t.equal(await losses[0], 'nobody listens any more at the address of the host');
  t.match(await losses[1], /^the host has not answered for \d+ s$/);
  t.ok(performance.now() - since < TOLD_MS, 'earlier than QUIC tells it');
  t.equal(isLost, false, 'a host that is stopped is waited for');
  process.kill(stopped.pid, 'SIGCONT');
  await client.ping();
  t.pass('its stream goes on at once');
});

t.test('a stop waits for the streams of an iroh connection until its limit', async (t) => {
  const server = await serve(t);
  const transports = new Transports({
    settings: () => ({ ...defaultSettings(), 'iroh.relays': 'disabled' }),
    env: {},
    event: () => undefined,
    ssh: NO_ENGINE,
  });
  const host = transports.irohHost({});
  await greet(await transports.open(routeTo(server), wait(), () => host));
  await halt(server.pid);
  t.teardown(() => process.kill(server.pid, 'SIGCONT'));
  const timers = holdTimers(t);
  transports.ends.hurry();
  const closing = transports.close();
  await timers.pass(0);
  await timers.pass(LIMITS.irohStopMs - 1);
  t.equal(host.connections.size, 1);
  await timers.pass(1);
  await timers.until('the close', () => host.connections.size === 0);
  process.kill(server.pid, 'SIGCONT');
  timers.release();
  await closing;
});
