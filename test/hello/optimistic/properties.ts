// Properties of the optimistic stream. `runs` is the number of examples: few in a test, many in a soak.
import { deepEqual, equal, ok } from 'node:assert/strict';
import { compressed } from '../../../daemon/compression/stream.ts';
import { encodeBlock } from '../../../daemon/compression/zstd.ts';
import fc from 'fast-check';
import { encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import { cut, cuts } from '../../bmux-ipc/arbitraries.ts';
import { ANSWERS, check, fails, MORE, onLine, type Model } from './model.ts';
import { EPOCH, EXPECTED, HELLO, Rig, turns } from './rig.ts';

/**
 * The bytes of the server are cut into random chunks, plain or compressed. After the expected answer the client gets all that follows; after
 * another one it gets nothing.
 */
export function answersSurviveChunking(runs: number): Promise<void> {
  return fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...Object.keys(ANSWERS), 'expected', 'expected', 'expected'),
      fc.uint8Array({ maxLength: 400 }),
      cuts,
      cuts,
      fc.boolean(),
      async (which, more, sizes, blockSizes, zstd) => {
        const rig = new Rig({ highWaterMark: 100_000, ...(zstd ? { wrap: compressed } : {}) });
        // A request that may not be sent twice, so that no second stream is opened.
        rig.write(encodeRequestFrame(EPOCH, 2n, { type: 'server_stop' }));
        const plain = Buffer.concat([ANSWERS[which] ?? HELLO, more]);
        const said = zstd ? Buffer.concat([...cut(plain, blockSizes)].map(encodeBlock)) : plain;
        for (const chunk of cut(said, sizes)) {
          rig.now.far.write(chunk);
          if (sizes.length < 6 && said.length < 400) await turns(1);
        }
        rig.now.far.end();
        await turns();
        if (which === 'expected') {
          deepEqual(rig.heard, Buffer.from(more));
          equal(rig.confirmed, 1);
          ok(rig.ended);
        } else {
          equal(rig.heard.length, 0);
          equal(rig.failures[0]?.code, 'optimistic_open_failed');
          equal(rig.error, rig.failures[0]);
        }
        await rig.finish();
      },
    ),
    { numRuns: runs },
  );
}

type Step = fc.AsyncCommand<Model, Rig>;

function step(name: string, can: (model: Model) => boolean, run: (model: Model, rig: Rig) => void): Step {
  return {
    check: can,
    run: async (model, rig) => {
      run(model, rig);
      await check(model, rig, name);
    },
    toString: () => name,
  };
}

const steps: fc.Arbitrary<Step>[] = [
  fc
    .constantFrom('ping' as const, 'whoami' as const, 'server_status' as const, 'server_stop' as const)
    .map((type) =>
      step(
        `client asks ${type}`,
        (model) => model.phase !== 'over' && !model.clientEnded && !model.lost,
        (model, rig) => {
          const frame = encodeRequestFrame(EPOCH, 7n, { type });
          model.asked = Buffer.concat([model.asked, frame]);
          rig.write(frame);
        },
      ),
    ),
  fc.nat(300).map((size) =>
    step(
      `client sends ${String(size)} bytes`,
      (model) => model.phase !== 'over' && !model.clientEnded && !model.lost,
      (model, rig) => {
        const bytes = Buffer.alloc(size, 0x55);
        model.asked = Buffer.concat([model.asked, bytes]);
        rig.write(bytes);
      },
    ),
  ),
  fc.constant(
    step(
      'client ends',
      (model) => model.phase !== 'over' && !model.clientEnded && !model.lost,
      (model, rig) => {
        model.clientEnded = true;
        rig.end();
      },
    ),
  ),
  fc.constant(
    step(
      'client stops or resumes reading',
      () => true,
      (model, rig) => {
        model.clientStalled = !model.clientStalled;
        if (model.clientStalled) rig.client.pause();
        else rig.client.resume();
      },
    ),
  ),
  fc.constant(
    step(
      'client destroys',
      ({ phase }) => phase !== 'over',
      (model, rig) => {
        model.phase = 'over';
        rig.client.destroy();
      },
    ),
  ),
  fc.oneof(fc.nat(30), fc.nat(300)).map((size) =>
    step(
      `server sends ${String(size)} bytes`,
      (model) => onLine(model) && !model.serverEnded && !model.lost,
      (model, rig) => {
        const chunk = model.script.subarray(model.sent, model.sent + size);
        model.sent += chunk.length;
        rig.now.far.write(chunk);
        if (model.phase !== 'unconfirmed') return;
        const length = model.answer === 'garbage' ? 4 : (ANSWERS[model.answer]?.length ?? 0);
        if (model.sent < length) return;
        if (model.answer === 'expected') model.phase = 'confirmed';
        else fails(model);
      },
    ),
  ),
  fc.constant(
    step(
      'server ends',
      (model) => onLine(model) && !model.serverEnded && !model.lost,
      (model, rig) => {
        model.serverEnded = true;
        rig.now.far.end();
        if (model.phase === 'unconfirmed') fails(model);
      },
    ),
  ),
  fc.constant(
    step(
      'server stops or resumes reading',
      (model) => onLine(model),
      (model, rig) => {
        model.serverStalled = !model.serverStalled;
        if (model.serverStalled) rig.now.far.pause();
        else rig.now.far.resume();
      },
    ),
  ),
  fc.boolean().map((withError) =>
    step(
      withError ? 'the line breaks' : 'the line closes',
      (model) => onLine(model) && !model.lost,
      (model, rig) => {
        const whole = model.serverEnded && !model.clientStalled;
        rig.now.near.destroy(withError ? new Error('ECONNRESET') : undefined);
        if (model.phase === 'unconfirmed') fails(model);
        else if (!model.serverEnded || (whole && !withError)) model.phase = 'over';
        else model.lost = true;
      },
    ),
  ),
  fc.constantFrom('the same', 'something else', 'another epoch', 'nothing', 'a dead one').map((what) =>
    step(
      `a fresh stream gives ${what}`,
      ({ phase }) => phase === 'replacing',
      (model, rig) => {
        if (what === 'nothing') rig.give?.(new Error('unreachable'));
        else if (what === 'something else') rig.fresh({ ...EXPECTED, revision: 9 });
        else if (what === 'another epoch') rig.fresh(EXPECTED, 3);
        else if (what === 'a dead one') rig.fresh().near.destroy();
        else rig.fresh();
        model.phase = what === 'the same' ? 'confirmed' : 'over';
        model.failed = what !== 'the same' && what !== 'a dead one';
        Object.assign(model, { sent: 0, script: MORE, serverEnded: false, serverStalled: false });
      },
    ),
  ),
];

/** Random steps of the client, the server and the line: no byte is lost or sent twice, and no stream or listener is left. */
export function anyCourseEndsWell(runs: number): Promise<void> {
  return fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...Object.keys(ANSWERS), 'expected', 'expected', 'expected'),
      fc.commands(steps, { maxCommands: 25 }),
      async (which, commands) => {
        const rig = new Rig();
        const model: Model = {
          phase: 'unconfirmed',
          answer: which,
          sent: 0,
          script: Buffer.concat([ANSWERS[which] ?? HELLO, MORE]),
          asked: Buffer.alloc(0),
          clientEnded: false,
          clientStalled: false,
          serverEnded: false,
          serverStalled: false,
          lost: false,
          failed: false,
        };
        await fc.asyncModelRun(() => ({ model, real: rig }), commands);
        await rig.finish();
      },
    ),
    { numRuns: runs },
  );
}

/** All properties by name, for the soak. */
export const PROPERTIES: Readonly<Record<string, (runs: number) => Promise<void>>> = {
  answersSurviveChunking,
  anyCourseEndsWell,
};
