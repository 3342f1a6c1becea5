// Properties of spares. `runs` is the number of examples: few in a test, many in a soak.
import fc from 'fast-check';
import { settle } from '../base/async/fake-clock.ts';
import { SparesRig, type Line } from './rig.ts';

/** In any course of events each caller gets a live spare that no other caller has, there are never too many, and all are ended. */
export function anyCourseEndsWell(runs: number): Promise<void> {
  const event = fc.oneof(
    fc.record({ type: fc.constant('take' as const) }),
    fc.record({ type: fc.constant('take' as const) }),
    fc.record({ type: fc.constant('pass' as const), ms: fc.nat(400) }),
    fc.record({ type: fc.constant('pass' as const), ms: fc.nat(9000) }),
    fc.record({ type: fc.constant('jump' as const), ms: fc.integer({ min: -100_000, max: 100_000 }) }),
    fc.record({ type: fc.constant('break' as const), which: fc.nat(5) }),
    fc.record({ type: fc.constant('server' as const), fails: fc.boolean(), answering: fc.boolean() }),
    fc.record({ type: fc.constant('drop' as const) }),
    fc.record({ type: fc.constant('room' as const), count: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ type: fc.constant('used' as const) }),
    fc.record({ type: fc.constant('max' as const), max: fc.nat(4) }),
  );
  return fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 30 }), async (events) => {
      const rig = new SparesRig();
      await rig.warm();
      const taken = new Set<Line>();
      const taking: Promise<void>[] = [];
      for (const one of events) {
        if (one.type === 'take') {
          const work = rig.spares.take(rig.factory()).then((line) => {
            if (line === undefined) return;
            if (taken.has(line)) throw new Error('shared');
            if (!line.stream.writable || !line.stream.readable) throw new Error('dead');
            if (rig.ended.includes(line.stream)) throw new Error('ended');
            taken.add(line);
          });
          work.catch(() => undefined);
          taking.push(work);
        } else if (one.type === 'pass') await rig.clock.advance(one.ms);
        else if (one.type === 'jump') rig.clock.jump(one.ms);
        else if (one.type === 'break') {
          const idle = rig.lines.filter((line) => !taken.has(line) && !line.stream.destroyed);
          idle[one.which]?.far.end();
          await settle();
        } else if (one.type === 'server') {
          rig.fails = one.fails;
          rig.answering = one.answering;
        } else if (one.type === 'drop') rig.spares.drop();
        else if (one.type === 'room') rig.spares.giveBack(one.count);
        else if (one.type === 'used') rig.spares.used(rig.factory(), 200, 50);
        else rig.max = one.max;
        if (rig.spares.count > 4) throw new Error('too many');
      }
      await rig.clock.advance(2000);
      await Promise.all(taking);
      rig.spares.close();
      await rig.clock.advance(2000);
      for (const { stream } of taken) stream.destroy();
      if (rig.open > 0 || rig.clock.waiting > 0) throw new Error('something is left');
    }),
    { numRuns: runs },
  );
}

/** All properties by name, for the soak. */
export const PROPERTIES: Readonly<Record<string, (runs: number) => Promise<void>>> = { anyCourseEndsWell };
