// Tests the classes of failures: each row of the registry has one, and the cause of a failure may tell more.
import dns from 'node:dns/promises';
import { syncBuiltinESMExports } from 'node:module';
import { mock } from 'node:test';
import t from 'tap';
import { ERROR_CLASSES } from '../../daemon/base/failure.ts';
import { isLoopback } from '../../daemon/base/process/network.ts';
import { classOf } from '../../daemon/errors/error-class.ts';
import { fail } from '../../daemon/errors/fail.ts';
import { failureIn, problemOf } from '../../daemon/errors/problem.ts';
import { REGISTRY, type ErrorRow } from '../../daemon/errors/registry.ts';
import { holdTimers } from '../base/async/held-timers.ts';

const caused = (code: string): Error => Object.assign(new Error(code), { code });

t.test('each row has a class, and each class but those of causes has a row', async (t) => {
  const rows: readonly [string, ErrorRow][] = Object.entries(REGISTRY);
  for (const [code, row] of rows) t.ok(row.class in ERROR_CLASSES, code);
  const used = new Set(rows.map(([, row]) => row.class));
  t.same(
    Object.keys(ERROR_CLASSES).filter((name) => !used.has(name as ErrorRow['class'])),
    ['offline'],
  );
});

t.test('the cause of a failure to reach a server', async (t) => {
  const classFor = (cause?: Error): string | undefined =>
    fail('tls_unreachable', { label: 'l' }, cause).data.class;
  t.equal(classFor(), 'server_gone');
  t.equal(classFor(caused('ECONNREFUSED')), 'refused');
  t.equal(classFor(caused('ETIMEDOUT')), 'timeout');
  t.equal(classFor(caused('ECONNRESET')), 'server_gone');
  t.equal(fail('tls_handshake_failed', { label: 'l' }, caused('ECONNREFUSED')).data.class, 'tls_trust');
});

t.test('on the control socket', async (t) => {
  const { data } = fail('wire_epoch_mismatch', { client: 3, server: 4 });
  const problem = problemOf(data);
  t.equal(problem.class, 'epoch');
  t.equal(failureIn(problem, 409)?.class, 'epoch');
  const { class: _, ...older } = data;
  t.equal(classOf(older), 'engine', 'an older version says no class');
  t.equal(failureIn({ ...older, class: 'unknown' }, 409)?.class, undefined);
});

t.test('which hosts need no network', async (t) => {
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost'])
    t.equal(await isLoopback(host), true, host);
  for (const host of ['10.0.0.1', '2001:db8::1', 'no-such-name.invalid'])
    t.equal(await isLoopback(host), false, host);
});

t.test('a name that the system does not look up in time is one of another machine', async (t) => {
  const hung = mock.method(dns, 'lookup', () => new Promise(() => undefined));
  syncBuiltinESMExports();
  t.teardown(() => {
    hung.mock.restore();
    syncBuiltinESMExports();
  });
  const timers = holdTimers(t);
  let found: boolean | undefined;
  void isLoopback('localhost').then((is) => (found = is));
  await timers.pass(499);
  t.equal(found, undefined);
  await timers.pass(1);
  t.equal(found, false);
});
