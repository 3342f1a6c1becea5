// Tests that log lines contain no token of a logged object, at any depth.
import t from 'tap';
import { makeLogger } from '../../daemon/base/log.ts';

t.test('tokens in logged objects are hidden', (t) => {
  let written = '';
  const sink = {
    write: (lines: string) => {
      written += lines;
    },
  };
  const log = makeLogger({ level: 'info', sink, process: 'control' });
  log.info(
    {
      access_token: 'secret-1',
      err: { deep: { authorization: ['secret-2', { a: 'secret-3' }] } },
      kept: 'yes',
    },
    'asked',
  );
  log.info({ kept: 'yes' }, 'the access_token is secret only where it is a field');
  t.notMatch(written, /secret-/);
  const [first, second] = written
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  t.match(first, {
    access_token: '[hidden]',
    err: { deep: { authorization: '[hidden]' } },
    kept: 'yes',
    msg: 'asked',
  });
  t.match(second, { kept: 'yes', msg: 'the access_token is secret only where it is a field' });
  t.end();
});
