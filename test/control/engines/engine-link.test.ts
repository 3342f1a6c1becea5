// Tests control's link to one engine: requests are answered, the engine listens on sockets, and nothing waits when the engine has ended.
import { createServer } from 'node:net';
import t from 'tap';
import { EngineLink, type EngineHandlers } from '../../../daemon/control/engines/engine-link.ts';
import { defaultSettings } from '../../../daemon/config/settings/table.ts';
import { fail } from '../../../daemon/errors/fail.ts';
import { addressOf } from '../../../daemon/engine-protocol/address.ts';
import type { Plan } from '../../../daemon/engine-protocol/plan.ts';
import { waitFor } from '../../real/child.ts';
import { FakeProcess } from './fake-process.ts';

const route = { transport: 'local', socketPath: '/run/server.sock' } as const;
const PLAN: Plan = {
  destination: {
    label: 'local',
    route,
    address: addressOf(route),
    context: 'c',
    runtime: { name: 'default', socket: '/run/server.sock' },
    compression: ['none'],
    compressionStated: false,
    connectTimeoutMs: 8000,
    warnings: [],
  },
  client: { requestId: 'r', name: 'n', principal: { id: 'p' }, ifRunning: false, warnings: [] },
  budgetMs: 8000,
};

function linked(over: Partial<EngineHandlers> = {}): {
  readonly child: FakeProcess;
  readonly link: EngineLink;
  readonly gone: string[];
} {
  const child = new FakeProcess();
  const gone: string[] = [];
  const start = {
    generation: 'g',
    version: '1',
    socketPath: '/e',
    stateDir: '/s',
    controlSocket: '/c',
    settings: defaultSettings(),
  };
  const link = new EngineLink(child.process, start, {
    onReady: () => undefined,
    onRetiring: () => undefined,
    onGone: (why) => {
      gone.push(why);
    },
    onAlive: () => undefined,
    onEvent: () => undefined,
    onTally: () => undefined,
    onLog: () => undefined,
    onProcessError: () => undefined,
    resolve: () => Promise.resolve(PLAN),
    resolveAgain: () => Promise.resolve(undefined),
    ...over,
  });
  return { child, link, gone };
}

t.test('a request is answered with its plan or its failure', async (t) => {
  const headers: (string | undefined)[] = [];
  const { child } = linked({
    resolve: (_requestId, header) => {
      headers.push(header);
      return header === 'bad'
        ? Promise.reject(fail('slot_unknown', { slot: 's', known: '' }))
        : Promise.resolve(PLAN);
    },
  });
  child.says({
    type: 'batch',
    messages: [
      { type: 'resolve', id: 1, requestId: 'a', header: '{}' },
      { type: 'resolve', id: 2, requestId: 'b', header: 'bad' },
      { type: 'resolve', id: 3, requestId: 'c' },
    ],
  });
  await waitFor('three answers', () => child.told('resolved').length === 3);
  t.same(headers, ['{}', 'bad', undefined]);
  const answers = new Map(child.told('resolved').map(({ id, result }) => [id, result]));
  t.same(answers.get(1), { plan: PLAN });
  t.match(answers.get(2), { failure: { code: 'slot_unknown' } });
});

t.test('a cancelled request is aborted and not answered', async (t) => {
  let signal: AbortSignal | undefined;
  const { child } = linked({
    resolve: (_requestId, _header, signalOf) =>
      new Promise((_resolve, reject) => {
        signal = signalOf();
        signal.addEventListener('abort', () => {
          reject(new Error('given up'));
        });
      }),
  });
  child.says({ type: 'resolve', id: 7, requestId: 'a' });
  child.says({ type: 'cancel', id: 7 });
  t.equal(signal?.aborted, true);
  await new Promise((resolve) => setImmediate(resolve));
  t.same(child.told('resolved'), []);
});

t.test('the destination of a target socket is resolved again', async (t) => {
  const { child } = linked({
    resolveAgain: (id) => Promise.resolve(id === 'known' ? PLAN.destination : undefined),
  });
  child.says({ type: 'resolve again', id: 1, targetSocket: 'known' });
  child.says({ type: 'resolve again', id: 2, targetSocket: 'other' });
  await waitFor('two answers', () => child.told('resolved').length === 2);
  const answers = new Map(child.told('resolved').map(({ id, result }) => [id, result]));
  t.same(answers.get(1), { destination: PLAN.destination });
  t.match(answers.get(2), { failure: { code: 'engine_unavailable' } });
});

t.test(
  'listen resolves when the engine listens, and rejects when it ends, hangs or the call is aborted',
  async (t) => {
    const { child, link, gone } = linked();
    const server = createServer();
    const first = link.listen({ kind: 'streams' }, server);
    const [sent] = child.sent.filter(({ message }) => message.type === 'listen');
    t.equal(sent?.handle, server);
    child.says({ type: 'listening', id: child.told('listen')[0]?.id ?? 0 });
    await first;
    const abort = new AbortController();
    const aborted = link.listen({ kind: 'streams' }, server, abort.signal);
    abort.abort(fail('stopping'));
    await t.rejects(aborted, { code: 'stopping' });
    await t.rejects(
      link.listen({ kind: 'streams' }, server),
      { code: 'engine_unavailable' },
      'the engine does not answer',
    );
    const cut = link.listen({ kind: 'streams' }, server);
    child.exits(1);
    await t.rejects(cut, { code: 'engine_unavailable' });
    t.same(gone, ['exit status 1']);
    await t.rejects(
      link.listen({ kind: 'streams' }, server),
      { code: 'engine_unavailable' },
      'the engine has ended',
    );
    link.tell({ type: 'stop', who: 'bmuxd stop' });
    t.same(child.told('stop'), [], 'nothing is sent to an engine that has ended');
  },
);

t.test('the last messages of an engine are handled before its end is reported', (t) => {
  const said: string[] = [];
  const { child, gone } = linked({
    onLog: (lines) => {
      said.push(lines);
    },
  });
  child.emit('exit', 1, null);
  t.same(gone, [], 'the end is not reported while the channel is open');
  child.says({ type: 'log', line: 'last\n' });
  child.connected = false;
  child.emit('disconnect');
  t.same(said, ['last\n']);
  t.same(gone, ['exit status 1']);
  t.end();
});
