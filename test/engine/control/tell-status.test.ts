// Tests what an engine tells of itself regularly: its status when it has changed, else only that it works.
import t from 'tap';
import { SCHEMA, type EngineStatus } from '../../../daemon/api/answers.ts';
import { LIMITS } from '../../../daemon/base/limits.ts';
import type { FromEngine } from '../../../daemon/engine-protocol/messages.ts';
import { tellStatus } from '../../../daemon/engine/tell-events.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';

function statusWith(streams: number): EngineStatus {
  const engine = { generation: 'x', pid: 1, version: '1', sinceMs: 1, state: 'serving', streams } as const;
  return { schema: SCHEMA, engine, upstreams: [] };
}

t.test('a status is sent when it has changed; without a change only that the engine works', async (t) => {
  const clock = new FakeClock();
  const told: FromEngine[] = [];
  let isThere = true;
  let deliver: () => void = () => undefined;
  let streams = 0;
  const tell = (message: FromEngine, sent?: (error: Error | null) => void): boolean => {
    if (!isThere) return false;
    told.push(message);
    deliver = () => sent?.(null);
    return true;
  };
  tellStatus({ tell }, 'x', () => statusWith(streams), clock);
  const next = async (): Promise<readonly FromEngine[]> => {
    told.length = 0;
    await clock.advance(LIMITS.heartbeatMs);
    return [...told];
  };
  t.same(told, [{ type: 'ready', generation: 'x' }]);
  t.same(await next(), [{ type: 'alive', status: statusWith(0) }]);
  streams = 1;
  t.same(await next(), [], 'control has not read the last one');
  deliver();
  t.same(await next(), [{ type: 'alive', status: statusWith(1) }], 'what has changed meanwhile');
  deliver();
  t.same(await next(), [{ type: 'alive' }]);
  deliver();
  streams = 0;
  t.same(await next(), [{ type: 'alive', status: statusWith(0) }]);
  deliver();
  isThere = false;
  t.same(await next(), []);
  t.equal(clock.waiting, 0, 'no timer is left');
});
