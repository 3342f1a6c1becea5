// Tests what a person at a terminal sees: the line of a command that waits, and colours.
import t from 'tap';
import { usesColor } from '../../daemon/base/process/color.ts';
import { showWait } from '../../daemon/cli/terminal.ts';
import { FakeClock } from '../base/async/fake-clock.ts';

t.test('after 1 s a command on a terminal says what it waits for', async (t) => {
  const clock = new FakeClock();
  let shown = '';
  const terminal = (isTTY: boolean) => ({ isTTY, columns: 30, write: (text: string) => (shown += text) });
  const end = showWait(terminal(true), 'all streams to end', clock);
  await clock.advance(900);
  t.equal(shown, '');
  await clock.advance(2200);
  t.match(shown, /waiting for all streams…, 3 s$/, 'in one line of the terminal');
  shown = '';
  end();
  end();
  t.equal(shown, '\r\u001b[K', 'wiped once');
  await clock.advance(5000);
  t.equal(shown, '\r\u001b[K');

  shown = '';
  const endPipe = showWait(terminal(false), 'all streams to end', clock);
  await clock.advance(5000);
  endPipe();
  t.equal(shown, '', 'nothing in a pipe');
});

t.test('NO_COLOR and FORCE_COLOR', async (t) => {
  const rows: [env: Readonly<Record<string, string>>, color: boolean][] = [
    [{}, true],
    [{ NO_COLOR: '1' }, false],
    [{ NO_COLOR: '' }, true],
    [{ FORCE_COLOR: '1', NO_COLOR: '1' }, true],
    [{ FORCE_COLOR: '0' }, false],
    [{ TERM: 'dumb' }, false],
  ];
  for (const [env, color] of rows) t.equal(usesColor(env), color, JSON.stringify(env));
});
