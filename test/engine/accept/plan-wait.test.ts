// The questions of an engine to control, which withholds the answer.
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { defaultSettings } from '../../../daemon/config/settings/table.ts';
import { ControlLink } from '../../../daemon/engine/control/control-link.ts';
import type { OneFromEngine, ToEngine } from '../../../daemon/engine-protocol/messages.ts';
import { fail } from '../../../daemon/errors/fail.ts';
import { planTo } from '../upstream/rig.ts';
import { holdTimers } from '../../base/async/held-timers.ts';
import { crowd, noCrowd } from '../../base/crowd.ts';
import { waitFor } from '../../real/index.ts';

const PLAN = planTo('gateway');

/** A control process that takes questions and answers none. `serve` gets the connections to its control socket. Time stands still. */
async function mute(t: Test, serve: (socket: Socket) => void) {
  return { ...(await muteControl(t, serve, 1)), timers: holdTimers(t) };
}

async function muteControl(t: Test, serve: (socket: Socket) => void, controlPid: number) {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-'));
  const controlSocket = join(folder, 'c.sock');
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket.on('error', () => undefined));
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(controlSocket, resolve));
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await rm(folder, { recursive: true });
  });
  const told: OneFromEngine[] = [];
  let say: (message: ToEngine) => void = () => undefined;
  const link = new ControlLink({
    controlSocket,
    controlPid,
    channel: {
      isOpen: () => true,
      send: (message, sent) => {
        told.push(...(message.type === 'batch' ? message.messages : [message]));
        sent(null);
      },
      onMessage: (listener) => {
        say = (message) => {
          listener(message, undefined);
        };
      },
      onGone: () => undefined,
      exit: () => undefined,
    },
  });
  link.onMessage(() => undefined);
  const plan = (): Promise<unknown> =>
    link.plan('r', undefined, {
      budgetMs: LIMITS.prepareMs,
      signal: new AbortController().signal,
      onAway: () => undefined,
    });
  return {
    link,
    plan,
    told,
    sockets,
    say: (message: ToEngine): void => {
      say(message);
    },
  };
}

const healthy = (socket: Socket): void => {
  socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}');
};

t.test('a control process that is alive and makes no plan', async (t) => {
  const { plan, told, timers } = await mute(t, healthy);
  const late = t.rejects(plan(), { code: 'out_of_time' });
  await timers.pass(LIMITS.prepareMs);
  await late;
  await timers.until('the cancel', () => told.at(-1)?.type === 'cancel');
});

t.test('another control process has taken over from one that hangs', async (t) => {
  const text = JSON.stringify({ pid: 2, plan: PLAN });
  const head = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n`;
  const answers = `${head}Content-Length: ${String(text.length)}\r\n\r\n${text}`;
  const { plan, told, timers } = await mute(t, (socket) => socket.end(answers));
  const made = plan();
  await timers.pass(LIMITS.silenceMs);
  t.same(await made, PLAN, 'it makes the plan');
  t.same(await plan(), PLAN, 'it is asked at once the next time');
  t.same(told.map(({ type }) => type).filter((type) => type === 'resolve').length, 1);
});

t.test('a control process that hangs is noticed before the time is over', async (t) => {
  const { plan, sockets, timers } = await mute(t, () => undefined);
  const late = t.rejects(plan(), { code: 'daemon_not_answering' });
  await timers.pass(LIMITS.silenceMs);
  await timers.until('a question for its health', () => sockets.length === 1);
  await timers.pass(LIMITS.healthMs);
  await timers.until('another one', () => sockets.length === 2);
  await timers.pass(LIMITS.healthMs);
  await late;
});

t.test('hundreds that wait for control ask for its health once', async (t) => {
  const { plan, told, sockets, timers } = await mute(t, () => undefined);
  const late = Array.from({ length: 200 }, () => t.rejects(plan(), { code: 'daemon_not_answering' }));
  await timers.until('the questions', () => told.length === 200);
  await timers.pass(LIMITS.silenceMs);
  await timers.until('a question for its health', () => sockets.length > 0);
  await timers.pass(LIMITS.healthMs);
  await timers.until('another one', () => sockets.length > 1);
  t.equal(sockets.length, 2);
  if (sockets.length !== 2) return;
  await timers.pass(LIMITS.healthMs);
  await Promise.all(late);
});

t.test('a control process that gets no CPU does not hang', { skip: noCrowd }, async (t) => {
  const [busy] = crowd(t);
  let asked = 0;
  const serve = (socket: Socket): void => {
    asked += 1;
    if (asked > 3) healthy(socket);
  };
  const { plan, told, say } = await muteControl(t, serve, busy?.pid ?? 0);
  const made = plan();
  await Promise.race([made, waitFor('an answer to a question for its health', () => asked > 3)]);
  const [question] = told;
  const id = question?.type === 'resolve' ? question.id : NaN;
  const { data: failure } = fail('stream_ended', { id: 'x', who: 'a test' });
  say({ type: 'resolved', id, result: { failure } });
  await t.rejects(made, { code: 'stream_ended' }, 'its answer counts');
});

t.test('a control process that says something meanwhile is only slow', async (t) => {
  const { plan, sockets, timers, say } = await mute(t, () => undefined);
  const late = t.rejects(plan(), { code: 'out_of_time' });
  await timers.pass(LIMITS.silenceMs);
  await timers.until('a question for its health', () => sockets.length === 1);
  say({ type: 'settings', settings: defaultSettings() });
  await timers.pass(LIMITS.healthMs);
  await timers.until('another one', () => sockets.length === 2);
  await timers.pass(LIMITS.healthMs);
  await timers.pass(LIMITS.prepareMs - LIMITS.silenceMs - 2 * LIMITS.healthMs);
  await late;
});

t.test('answers of one message are handled a few in each turn of the event loop', async (t) => {
  const { plan, told, timers, say } = await mute(t, healthy);
  let answered = 0;
  const plans = Array.from({ length: 20 }, () =>
    plan().catch(() => {
      answered += 1;
    }),
  );
  const ids = (): number[] => told.flatMap((one) => (one.type === 'resolve' ? [one.id] : []));
  await timers.until('the questions', () => ids().length === 20);
  const { data: failure } = fail('stream_ended', { id: 'x', who: 'a test' });
  say({
    type: 'batch',
    messages: ids().map((id) => ({ type: 'resolved' as const, id, result: { failure } })),
  });
  await new Promise((resolve) => {
    process.nextTick(resolve);
  });
  t.ok(answered < 20, `${String(answered)} in the first turn`);
  await Promise.all(plans);
  t.equal(answered, 20);
});

t.test('a control process that does not say where a share link leads now', async (t) => {
  const { link, timers } = await mute(t, healthy);
  const asked = link.destinationOf('link');
  await timers.pass(LIMITS.renewMs);
  t.equal(await asked, undefined, 'the former destination counts');
});
