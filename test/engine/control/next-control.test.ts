// Requests in an engine without control, until the next control process answers on its socket.
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { ControlLink } from '../../../daemon/engine/control/control-link.ts';
import { NextControl } from '../../../daemon/engine/control/next-control.ts';
import { holdTime } from '../../base/async/held-timers.ts';
import { planTo } from '../upstream/rig.ts';

async function folder(t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'bmuxd-'));
  t.teardown(() => rm(path, { recursive: true }));
  return path;
}

/** An engine whose control process is gone, with one request. */
function away(t: Test, controlSocket: string) {
  const link = new ControlLink({
    controlSocket,
    channel: {
      isOpen: () => false,
      send: () => undefined,
      onMessage: () => undefined,
      onGone: () => undefined,
      exit: () => undefined,
    },
  });
  const seen = { isAway: false };
  const time = holdTime(t);
  const abort = new AbortController();
  const plan = link.plan('r', undefined, {
    budgetMs: LIMITS.prepareMs,
    signal: abort.signal,
    onAway: () => (seen.isAway = true),
  });
  return { plan, seen, time, abort };
}

t.test('control does not come back: the request is refused at the limit', async (t) => {
  const { plan, seen, time } = away(t, join(await folder(t), 'c.sock'));
  let refused: unknown;
  plan.catch((error: unknown) => (refused = error));
  await time.until('it to be noticed', () => seen.isAway);
  await time.pass(LIMITS.awayMs - 200);
  t.equal(refused, undefined);
  // Between two attempts, which take real time, 100 ms of the held time pass.
  for (let passed = 0; refused === undefined && passed < 2000; passed += 50) {
    await time.pass(50);
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
  t.match(refused, { code: 'control_unavailable' });
});

t.test('the caller goes: nothing is waited for', async (t) => {
  const { plan, seen, time, abort } = away(t, join(await folder(t), 'c.sock'));
  const ended = t.rejects(plan, /the caller is gone/);
  await time.until('it to be noticed', () => seen.isAway);
  abort.abort(new Error('the caller is gone'));
  await ended;
});

/** A control process of the test's own, which answers every request with `body`. Its socket is at `path` when this resolves. */
async function nextControl(t: Test, path: string, body: string): Promise<void> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.end(
      `HTTP/1.1 200 OK\r\nBmuxd-Version: 9.9.9\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    );
  });
  await new Promise<void>((resolve) => server.listen(`${path}.private`, resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await rename(`${path}.private`, path);
}

t.test('the next control process is asked as soon as its socket is there', async (t) => {
  const path = join(await folder(t), 'c.sock');
  // No timer runs: only the event tells.
  const { plan, seen, time } = away(t, path);
  await time.until('it to be noticed', () => seen.isAway);
  const made = planTo('gateway');
  await nextControl(t, path, JSON.stringify({ plan: made }));
  t.same(await plan, made);
});

t.test('a next control process that answers in another form is told as of another version', async (t) => {
  const path = join(await folder(t), 'c.sock');
  const { plan, seen, time } = away(t, path);
  await time.until('it to be noticed', () => seen.isAway);
  await nextControl(t, path, JSON.stringify({ plan: { ...planTo('gateway'), destination: 'one' } }));
  await t.rejects(plan, { code: 'version_mismatch', message: /bmuxd 9\.9\.9/ });
});

t.test('a request whose client goes while the next control process is asked waits no longer', async (t) => {
  const path = join(await folder(t), 'c.sock');
  const { plan, seen, time, abort } = away(t, path);
  await time.until('it to be noticed', () => seen.isAway);
  const ended = t.rejects(plan, /the caller is gone/);
  let asked: (() => void) | undefined;
  const isAsked = new Promise<void>((resolve) => (asked = resolve));
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    asked?.();
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.teardown(() => {
    server.close();
  });
  await isAsked;
  abort.abort(new Error('the caller is gone'));
  await ended;
});

t.test('files beside the control socket wake up nobody', async (t) => {
  const dir = await folder(t);
  const path = join(dir, 'c.sock');
  holdTime(t);
  const following = new NextControl(path).follow();
  await following.change();
  let woken = false;
  const change = following.change().then(() => (woken = true));
  await writeFile(join(dir, 'start.lock'), '');
  for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  t.equal(woken, false);
  await writeFile(path, '');
  await change;
  following.end();
});

t.test('without a folder to watch it looks every now and then', async (t) => {
  const time = holdTime(t);
  const following = new NextControl(join(await folder(t), 'missing', 'c.sock')).follow();
  await following.change();
  const change = following.change();
  await time.pass(200);
  await change;
  following.end();
  t.pass();
});

t.test('a caller that has gone before does not wait', async (t) => {
  holdTime(t);
  const following = new NextControl(join(await folder(t), 'c.sock')).follow();
  const gone = AbortSignal.abort(new Error('the caller is gone'));
  await t.rejects(following.change(gone), /the caller is gone/);
  await following.change();
  await t.rejects(following.change(gone), /the caller is gone/);
  following.end();
});

t.test('who ends, even twice, takes the event from nobody else', async (t) => {
  const path = join(await folder(t), 'c.sock');
  holdTime(t);
  const next = new NextControl(path);
  const [one, other] = [next.follow(), next.follow()];
  one.end();
  one.end();
  await other.change();
  const change = other.change();
  await writeFile(path, '');
  await change;
  other.end();
  t.pass();
});

t.test('after the last follower the folder is no longer watched', async (t) => {
  const dir = join(await folder(t), 'd');
  const path = join(dir, 'c.sock');
  await mkdir(dir);
  holdTime(t);
  const next = new NextControl(path);
  next.follow().end();
  await rm(dir, { recursive: true });
  await mkdir(dir);
  // A watch of the former folder would not see the new one.
  const following = next.follow();
  await following.change();
  const change = following.change();
  await writeFile(path, '');
  await change;
  following.end();
  t.pass();
});
