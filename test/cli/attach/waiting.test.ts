// Tests what a person sees and can do while a target is waited for.
import { EventEmitter } from 'node:events';
import t from 'tap';
import { fail } from '../../../daemon/errors/fail.ts';
import { readKeys, ReconnectLine } from '../../../daemon/cli/attach/waiting.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';

const WIPE = '\r\u001b[K';

function terminal(more: { readonly isTTY?: boolean; readonly columns?: number } = {}) {
  const written: string[] = [];
  return { isTTY: true, columns: 100, ...more, written, write: (text: string) => written.push(text) };
}

t.test('the line shows reason, time and keys, and ends as a line of its own', async (t) => {
  const clock = new FakeClock();
  const screen = terminal();
  const line = new ReconnectLine({ terminal: screen, clock, target: 'prod', why: 'its engine has died' });
  await clock.advance(2000);
  line.end(true);
  const keys = 'Enter tries now, Ctrl-C gives up';
  t.strictSame(screen.written, [
    `${WIPE}bmuxd: prod was lost: its engine has died; waiting 0 s; ${keys}`,
    `${WIPE}bmuxd: prod was lost: its engine has died; waiting 1 s; ${keys}`,
    `${WIPE}bmuxd: prod was lost: its engine has died; waiting 2 s; ${keys}`,
    `${WIPE}bmuxd: prod was lost: its engine has died; it answers again after 2 s\n`,
  ]);
  t.equal(clock.waiting, 0);
});

t.test('the reason of the system is in the line, not before it that something was lost', async (t) => {
  const screen = terminal({ columns: 80 });
  const why = 'the connection to its server was lost: read ECONNRESET';
  new ReconnectLine({ terminal: screen, clock: new FakeClock(), target: 'prod', why }).end(true);
  t.match(screen.written[0], 'prod was lost: read ECON…; waiting 0 s');
  t.equal(screen.written[1], `${WIPE}bmuxd: prod was lost: read ECONNRESET; it answers again after 0 s\n`);
});

t.test('what a person has to mend is told once with its remedy, anything else in the line', async (t) => {
  const clock = new FakeClock();
  const screen = terminal({ columns: 140 });
  const line = new ReconnectLine({ terminal: screen, clock, target: 'prod', why: 'gone' });
  line.failed(fail('tls_unreachable', { label: 'prod' }));
  await clock.advance(1000);
  for (const _ of [1, 2]) line.failed(fail('ssh_login_wanted', { label: 'prod', why: 'it asks' }));
  line.failed(fail('tls_unreachable', { label: 'prod' }));
  line.failed(fail('ssh_login_wanted', { label: 'prod', why: 'it asks' }));
  line.end(false);
  const [first = '', second = '', told = '', third = '', end, ...more] = screen.written;
  t.match(first, 'prod was lost: gone; waiting 0 s');
  t.match(second, /prod was lost: gone; now: .*prod.*; waiting 1 s/);
  t.match(told, /^\r.*it asks[^]*bmuxd login prod[^]*\[ssh_login_wanted\]\n$/);
  t.match(third, /prod was lost: gone; now: .*it asks.*; waiting 1 s/);
  t.equal(end, WIPE);
  t.strictSame(more, []);
  const file = terminal({ isTTY: false });
  const lines = new ReconnectLine({ terminal: file, clock, target: 'prod', why: 'gone' });
  lines.failed(fail('ssh_login_wanted', { label: 'prod', why: 'it asks' }));
  lines.end(true);
  t.match(file.written[1], /^[^\r]*it asks[^]*\[ssh_login_wanted\]\n$/);
});

t.test('a narrow terminal loses the reason, not the keys; a hostile text does nothing', async (t) => {
  const clock = new FakeClock();
  const screen = terminal({ columns: 60 });
  const line = new ReconnectLine({
    terminal: screen,
    clock,
    target: 'prod',
    why: 'a\u001b[2Jb\nc '.repeat(9),
  });
  line.end(false);
  const [first = '', last] = screen.written;
  t.match(first, /; waiting 0 s; Enter tries now, Ctrl-C gives up$/);
  t.equal(first.length - WIPE.length, 59);
  t.notOk(/\p{Cc}/u.test(first.slice(WIPE.length)), 'no control character');
  t.equal(last, WIPE);
});

t.test('a terminal that is made narrower has no rest of the line', async (t) => {
  const clock = new FakeClock();
  const screen = { ...terminal(), columns: 100 };
  const line = new ReconnectLine({ terminal: screen, clock, target: 'prod', why: 'its engine has died' });
  const [first = ''] = screen.written;
  screen.columns = 40;
  await clock.advance(1000);
  screen.columns = 20;
  line.end(false);
  t.equal(Math.ceil((first.length - WIPE.length) / 40), 3);
  const [, second = '', wiped] = screen.written;
  const above = '\u001b[K\u001b[A';
  t.ok(second.startsWith(`\r${above.repeat(2)}\u001b[K…; waiting 1 s`), second);
  t.equal(wiped, `\r${above}\u001b[K`);
});

t.test('without a terminal two lines are written', async (t) => {
  const clock = new FakeClock();
  const file = terminal({ isTTY: false });
  const line = new ReconnectLine({ terminal: file, clock, target: 'prod', why: 'gone' });
  await clock.advance(5000);
  line.end(true);
  t.strictSame(file.written, [
    'bmuxd: prod was lost: gone; waiting until it answers\n',
    'bmuxd: prod was lost: gone; it answers again after 5 s\n',
  ]);
});

class Keys extends EventEmitter {
  readonly isTTY = true;
  readonly calls: string[] = [];
  setRawMode(on: boolean): void {
    this.calls.push(`raw ${String(on)}`);
  }
  resume(): void {
    this.calls.push('resume');
  }
  pause(): void {
    this.calls.push('pause');
  }
}

t.test('Enter and Ctrl-C are keys in raw mode, everything else is dropped', async (t) => {
  const ending = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
  const before = ending.map((signal) => process.listenerCount(signal));
  const keyboard = new Keys();
  const did: string[] = [];
  const stop = readKeys(keyboard, { enter: () => did.push('enter'), giveUp: () => did.push('give up') });
  for (const keys of ['x', '\r', '\u001b[A', '\u0003']) keyboard.emit('data', Buffer.from(keys));
  for (const signal of ending) process.emit(signal);
  stop();
  keyboard.emit('data', Buffer.from('\r'));
  t.same(did, ['enter', ...Array<string>(5).fill('give up')]);
  t.same(keyboard.calls, ['raw true', 'resume', 'pause', 'raw false']);
  t.same(
    ending.map((signal) => process.listenerCount(signal)),
    before,
  );
});
