// Tests that a log goes on after its destination failed, and that no line is lost without being counted.
import { closeSync, openSync } from 'node:fs';
import t from 'tap';
import { WholeLines } from '../../daemon/base/files/write-whole.ts';
import { LossyLog } from '../../daemon/base/lossy-log.ts';

type Done = (error?: Error | null) => void;
const failure = (code: string): Error => Object.assign(new Error(`${code}: it failed`), { code });

/** A log to an output that fails as `state` says; `late` delays its answers until `state.answer`. */
function rig(late = false) {
  const state = { error: undefined as Error | undefined, full: undefined as string | undefined };
  const written: string[] = [];
  const waiting: Done[] = [];
  let tick: (() => void) | undefined;
  const log = new LossyLog({
    process: 'control',
    output: {
      final: new Set(['EPIPE']),
      full: () => state.full,
      write: (text, done) => {
        if (state.error === undefined) written.push(text);
        const { error } = state;
        if (late) waiting.push(() => done(error));
        else done(error);
      },
    },
    clock: {
      now: () => 0,
      after: () => () => {},
      every: (_ms, run) => {
        tick = run;
        return () => {
          tick = undefined;
        };
      },
    },
  });
  const answer = (): void => {
    for (const done of waiting.splice(0)) done();
  };
  return { state, log, written, answer, retry: () => tick?.(), isRetrying: () => tick !== undefined };
}

for (const code of ['ENOSPC', 'EAGAIN', 'EIO', 'EDQUOT']) {
  t.test(`after ${code} lines are counted, and the log works again`, (t) => {
    const { state, log, written, retry, isRetrying } = rig();
    log.write('a\n');
    state.error = failure(code);
    log.write('b\n');
    log.write('c\nd\n');
    retry();
    t.same(log.loss, { why: `${code}: it failed`, count: 3 });
    state.error = undefined;
    log.write('e\n');
    t.same(written, ['a\n'], 'the next attempt is made later');
    retry();
    t.match(JSON.parse(written[1] ?? ''), { level: 'warn', lost: 4, msg: '4 lines of the log were lost' });
    t.equal(log.loss, undefined);
    t.notOk(isRetrying());
    log.write('f\n');
    t.equal(written[2], 'f\n');
    t.end();
  });
}

t.test('a reader that has gone is no loss, and nothing more is written', (t) => {
  const { state, log, written, isRetrying } = rig();
  state.error = failure('EPIPE');
  log.write('a\n');
  state.error = undefined;
  log.write('b\n');
  t.same([log.loss, isRetrying(), written], [undefined, false, []]);
  t.end();
});

t.test('lines for a slow reader, and lines during the attempt, are counted', (t) => {
  const { state, log, written, answer, retry, isRetrying } = rig(true);
  state.full = 'nobody reads it';
  log.write('a\n');
  retry();
  t.same([log.loss, written], [{ why: 'nobody reads it', count: 1 }, []]);
  state.full = undefined;
  retry();
  log.write('b\n');
  answer();
  t.match(log.loss, { count: 1 });
  retry();
  answer();
  t.same(
    written.map((line) => (JSON.parse(line) as { lost: number }).lost),
    [1, 1],
  );
  t.notOk(isRetrying());
  t.end();
});

t.test('a device that is full is an error', { skip: process.platform !== 'linux' }, (t) => {
  const fd = openSync('/dev/full', 'w');
  t.throws(
    () => {
      new WholeLines().write(fd, 'a\n');
    },
    { code: 'ENOSPC' },
  );
  closeSync(fd);
  t.end();
});
