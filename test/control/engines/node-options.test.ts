// Tests which NODE_OPTIONS an engine is started with.
import { pino } from 'pino';
import t from 'tap';
import { NodeOptions } from '../../../daemon/control/engines/node-options.ts';

const log = pino({ level: 'silent' });
const GIVEN = { NODE_OPTIONS: '--require /gone.cjs', HOME: '/h' };
const STDERR = "node:internal/x:1\n\nError: Cannot find module '/gone.cjs'\n    at y\n\nNode.js v20.0.0";

t.test('after a failed start they are left out, and told when that has helped', async (t) => {
  const options = new NodeOptions(GIVEN, log);
  t.same(options.env, GIVEN);
  options.failed(STDERR);
  t.same(options.env, { HOME: '/h' });
  t.equal(options.problem, undefined, 'not known yet');
  options.worked();
  t.match(options.problem?.data, {
    code: 'node_options_unusable',
    detail: /Cannot find module '\/gone\.cjs'/,
  });
  options.failed(STDERR);
  t.same(options.env, { HOME: '/h' }, 'until control ends');
});

t.test('when an engine without them fails as well, they are kept', async (t) => {
  const options = new NodeOptions(GIVEN, log);
  options.failed(STDERR);
  options.failed(STDERR);
  t.same(options.env, GIVEN);
  options.worked();
  t.equal(options.problem, undefined);
});

t.test('an engine for which there is no room says nothing about them', async (t) => {
  const options = new NodeOptions(GIVEN, log);
  options.failed('node[12]: pthread_create: Resource temporarily unavailable');
  t.same(options.env, GIVEN);
});

t.test('without NODE_OPTIONS nothing changes', async (t) => {
  const options = new NodeOptions({ HOME: '/h' }, log);
  options.failed(STDERR);
  t.same(options.env, { HOME: '/h' });
  options.worked();
  t.equal(options.problem, undefined);
});
