// Tests the line that tells a person what a request waits for.
import t from 'tap';
import { RenewedLine, WaitingLine } from '../../client-shim/waiting-line.ts';
import { FakeClock } from '../base/async/fake-clock.ts';

const WIPE = '\r\u001b[K';

function terminal(more: { readonly isTTY?: boolean; readonly columns?: number } = {}) {
  const written: string[] = [];
  return { isTTY: true, ...more, written, write: (text: string) => written.push(text) };
}

t.test('the line is renewed each second and wiped at the end', async (t) => {
  const clock = new FakeClock();
  const screen = terminal();
  const line = new WaitingLine({ terminal: () => screen, target: 'prod', clock });
  await clock.advance(1000);
  line.show({ step: 'planning', sinceMs: 0 });
  await clock.advance(1000);
  line.show({ step: 'connecting', sinceMs: 0, target: 'prod', transport: 'iroh' });
  await clock.advance(1000);
  line.end();
  t.strictSame(screen.written, [
    `${WIPE}waiting for prod: planning, 1 s`,
    `${WIPE}waiting for prod: planning, 2 s`,
    `${WIPE}waiting for prod: connecting (iroh), 2 s`,
    `${WIPE}waiting for prod: connecting (iroh), 3 s`,
    WIPE,
  ]);
  line.show({ step: 'connecting', sinceMs: 0 });
  await clock.advance(5000);
  t.equal(screen.written.length, 5, 'nothing is written after the end');
  t.equal(clock.waiting, 0);
});

t.test('nothing is written without a terminal, and none is asked for without news', async (t) => {
  const clock = new FakeClock();
  const file = terminal({ isTTY: false });
  const line = new WaitingLine({ terminal: () => file, clock });
  line.show({ step: 'connecting', sinceMs: 0 });
  await clock.advance(3000);
  line.end();
  t.strictSame(file.written, []);
  let asked = false;
  const terminalOf = () => {
    asked = true;
    return file;
  };
  new WaitingLine({ terminal: terminalOf, clock }).end();
  t.notOk(asked);
});

t.test('the line fits the terminal and has no control characters of others', async (t) => {
  const screen = terminal({ columns: 24 });
  const line = new WaitingLine({ terminal: () => screen, clock: new FakeClock() });
  line.show({ step: 'connecting', sinceMs: 0, target: 'a\u001b[2J\n\tb-long-name', transport: 'tls' });
  t.strictSame(screen.written, [`${WIPE}waiting for a?[2J??b-l…`]);
  line.end();
  const sizeless = terminal({ columns: 0 });
  const other = new WaitingLine({ terminal: () => sizeless, clock: new FakeClock() });
  other.show({ step: 'planning', sinceMs: 0 });
  t.strictSame(sizeless.written, [`${WIPE}waiting: planning, 0 s`]);
  other.end();
});

t.test('a line that wraps because the terminal was made narrower is wiped whole', (t) => {
  const screen = { ...terminal(), columns: 100 };
  const line = new RenewedLine(screen);
  line.show('x'.repeat(61));
  screen.columns = 30;
  line.show('y'.repeat(61));
  line.show('z');
  screen.columns = 0;
  line.replace('end\n');
  t.strictSame(screen.written, [
    `${WIPE}${'x'.repeat(61)}`,
    `\r${'\u001b[K\u001b[A'.repeat(2)}\u001b[K${'y'.repeat(28)}…`,
    `${WIPE}z`,
    `${WIPE}end\n`,
  ]);
  t.end();
});
