// Tests where an engine's log lines go: routine lines are sent in batches, other lines at once, and to the file when control is gone.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { engineSink } from '../../daemon/engine/log-sink.ts';
import { waitFor } from '../real/child.ts';

const routine = (text: string): string => `{"level":"info","msg":"${text}"}\n`;
const urgent = (text: string): string => `{"level":"error","msg":"${text}"}\n`;

/** A log sink with a fake channel: `sent` is what control got, `open` says whether control is there. */
function edge(folder: string) {
  const state = { open: true, sent: [] as string[], flushed: 0, fail: (_error: Error | null): void => {} };
  const file = join(folder, 'engine.log');
  const sink = engineSink({
    file,
    process: 'engine a',
    control: {
      tell: (message, sent) => {
        if (!state.open) return false;
        if (message.type === 'log') state.sent.push(message.line);
        if (sent !== undefined) state.fail = sent;
        return true;
      },
      flush: () => {
        state.flushed += 1;
      },
    },
  });
  return { state, sink, inFile: () => readFileSync(file, 'utf8') };
}

t.test('log lines are sent in batches, at once, or written to the file', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bmuxd-log-sink-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const { state, sink, inFile } = edge(folder);
  sink.write(routine('a'));
  sink.write(routine('b'));
  t.same(state.sent, []);
  await waitFor('the lines to be sent after a time', () => state.sent.length > 0);
  t.same(state.sent, [routine('a') + routine('b')], 'in one batch');
  sink.write(routine('c'));
  sink.write(urgent('d'));
  t.same(
    state.sent[1],
    routine('c') + urgent('d'),
    'an urgent line is sent at once, after the lines before it',
  );
  t.equal(state.flushed, 1);
  for (let line = 0; state.sent.length < 3 && line < 2000; line += 1) sink.write(routine('many'));
  t.ok((state.sent[2]?.length ?? 0) >= 16 * 1024, 'a large batch is sent at once');
  state.fail(new Error('control is gone'));
  state.open = false;
  const many = inFile();
  sink.write(urgent('e'));
  sink.write(routine('f'));
  t.equal(
    inFile(),
    many + urgent('e') + routine('f'),
    'lines that cannot be sent are written to the file at once',
  );
});

t.test('a full disk is a loss that is counted', { skip: process.platform !== 'linux' }, (t) => {
  const sink = engineSink({
    file: '/dev/full',
    process: 'engine a',
    control: { tell: () => false, flush: () => {} },
  });
  sink.write(urgent('a'));
  sink.write(urgent('b'));
  t.match(sink.problem, { code: 'log_unwritable', message: /ENOSPC/ });
  t.end();
});
