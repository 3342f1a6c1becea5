// Tests what a person at a terminal sees: the line of a command that waits, and colours.
import t from 'tap';
import { usesColor } from '../../daemon/base/process/color.ts';
import { COMMANDS } from '../../daemon/cli/command-table.ts';
import { readableLine } from '../../daemon/cli/service/log-lines.ts';
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
  for (const [env, color] of rows) t.equal(usesColor(env, true), color, JSON.stringify(env));
  t.equal(usesColor({}, false), false, 'no terminal');
  t.equal(usesColor({ FORCE_COLOR: '' }, false), false, 'an empty variable counts as unset');
  t.equal(usesColor({ FORCE_COLOR: '1' }, false), true);
});

t.test('a line of the log', (t) => {
  const line = JSON.stringify({ level: 'warn', time: 'T', process: 'control', msg: 'text', a: '\u001b[2J' });
  t.equal(readableLine(line, false), 'T WARN  [control] text a=?[2J\n');
  t.equal(readableLine(line, true), 'T \u001b[33mWARN \u001b[0m [control] text a=?[2J\n');
  t.equal(readableLine(line.replace('warn', 'info'), true), 'T INFO  [control] text a=?[2J\n');
  t.end();
});

t.test('each command that asks something outside says what it waits for', (t) => {
  // The others show it themselves, go on until they are ended, or ask nobody.
  const without = COMMANDS.filter(({ waits }) => waits === undefined).map(({ name }) => name);
  t.same(without, [
    'run', 'env', 'exec', 'attach', 'ping', 'shell-init', 'warm', 'login', 'events', 'logs', 'install', 'meta', 'completion', 'help',
  ]); // oxfmt-ignore
  t.end();
});
