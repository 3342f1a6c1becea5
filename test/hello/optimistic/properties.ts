// Properties of the optimistic Hello. Tests run them a little, a soak as long as it likes: `runs` is the number of examples.
import { deepEqual, equal, ok } from 'node:assert/strict';
import { Failure } from '../../../daemon/base/failure.ts';
import { compressed } from '../../../daemon/compression/stream.ts';
import { encodeBlock } from '../../../daemon/compression/zstd.ts';
import fc from 'fast-check';
import { HELLO_REQUEST_ID } from '../../../daemon/hello/handshake.ts';
import { mayReplay } from '../../../daemon/hello/replay.ts';
import { encodeRequestFrame, encodeResponseFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import { cut, cuts } from '../../bmux-ipc/arbitraries.ts';
import { answer, EPOCH, HELLO, PROMISED, Rig, turns } from './rig.ts';

/** Answers that keep the promise and answers that do not. */
const ANSWERS: Readonly<Record<string, Buffer>> = {
  kept: answer(),
  'another revision': answer({ ...PROMISED, revision: 2 }),
  'a capability less': answer({ ...PROMISED, capabilities: PROMISED.capabilities.slice(1) }),
  refused: encodeResponseFrame(EPOCH, HELLO_REQUEST_ID, { type: 'error', code: 'internal', message: 'no' }),
  'another id': answer(PROMISED, 2n),
  'an event': answer(PROMISED, HELLO_REQUEST_ID, 'event'),
  'another version': answer(PROMISED, HELLO_REQUEST_ID, 'response', 3),
  'another epoch': answer(PROMISED, HELLO_REQUEST_ID, 'response', EPOCH, 3),
  garbage: Buffer.alloc(20, 0xff),
};

/** However the bytes are cut, plain or compressed: a kept promise costs the client nothing of what follows, a broken one shows it nothing. */
export function answersSurviveChunking(runs: number): Promise<void> {
  return fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...Object.keys(ANSWERS), 'kept', 'kept', 'kept'),
      fc.uint8Array({ maxLength: 400 }),
      cuts,
      cuts,
      fc.boolean(),
      async (which, more, sizes, blockSizes, zstd) => {
        const rig = new Rig({ highWaterMark: 100_000, ...(zstd ? { wrap: compressed } : {}) });
        // What the client asks meanwhile may not be asked twice: no second stream in this one.
        rig.write(encodeRequestFrame(EPOCH, 2n, { type: 'server_stop' }));
        const plain = Buffer.concat([ANSWERS[which] ?? HELLO, more]);
        const said = zstd ? Buffer.concat([...cut(plain, blockSizes)].map(encodeBlock)) : plain;
        for (const chunk of cut(said, sizes)) {
          rig.now.far.write(chunk);
          if (sizes.length < 6 && said.length < 400) await turns(1);
        }
        rig.now.far.end();
        await turns();
        if (which === 'kept') {
          deepEqual(rig.heard, Buffer.from(more));
          equal(rig.confirmed, 1);
          ok(rig.ended);
        } else {
          equal(rig.heard.length, 0);
          equal(rig.broken[0]?.code, 'optimistic_open_failed');
          equal(rig.error, rig.broken[0]);
        }
        await rig.finish();
      },
    ),
    { numRuns: runs },
  );
}

/** What the model knows: which promises there are, and what both sides must have heard by now. */
interface Model {
  phase: 'promised' | 'unsure' | 'replacing' | 'confirmed' | 'over';
  answer: keyof typeof ANSWERS;
  /** Bytes of the server's script sent on the line of now: answer and more on the first, more on a fresh one. */
  sent: number;
  script: Buffer;
  /** All that the client has sent. */
  asked: Buffer;
  clientEnded: boolean;
  clientStalled: boolean;
  serverEnded: boolean;
  serverStalled: boolean;
  /** The near end is gone after both or one of its ends: nothing more is certain but the clean-up. */
  lost: boolean;
  /** It ended because of the promise, and of nothing else. */
  failed: boolean;
}

type Step = fc.AsyncCommand<Model, Rig>;

const MORE = Buffer.from(Array.from({ length: 500 }, (_, index) => index % 251));

function breaks(model: Model): void {
  model.failed = !mayReplay(EPOCH, model.asked);
  // What a stalled server has not taken may not have been forwarded: then it need not be harmless.
  model.phase = model.failed ? (model.serverStalled ? 'unsure' : 'over') : 'replacing';
}

/** Everything that must hold between two steps. */
async function check(model: Model, rig: Rig, what: string): Promise<void> {
  await turns();
  if (model.phase === 'unsure') {
    model.failed = rig.give === undefined;
    model.phase = model.failed ? 'over' : 'replacing';
  }
  const { phase } = model;
  const first = rig.lines.length === 1;
  const context = `${what}: ${phase}, ${rig.log.join(', ')}`;
  if (phase === 'promised')
    deepEqual([rig.confirmed, rig.broken.length, rig.heard.length], [0, 0, 0], context);
  if (phase === 'replacing') ok(rig.give !== undefined && !rig.client.destroyed, context);
  if (phase === 'confirmed' && first) equal(rig.confirmed, 1, context);
  if (phase === 'over') {
    ok(rig.closed, context);
    equal(rig.waiting, 0, `${context}: every write has called back`);
    if (model.failed) {
      ok(rig.error instanceof Failure && rig.error.code === 'optimistic_open_failed', context);
      equal(rig.heard.length, 0, context);
    }
  }
  if (phase === 'confirmed') {
    const skipped = first ? (ANSWERS[model.answer] ?? HELLO).length : 0;
    const due = model.script.subarray(skipped, Math.max(skipped, model.sent));
    prefix(rig.heard, due, context);
    if (!model.clientStalled && !model.lost) equal(rig.heard.length, due.length, `${context}: all is heard`);
    if (!model.clientStalled && !model.lost && model.serverEnded) ok(rig.ended, `${context}: its end too`);
  }
  if (phase === 'promised' || phase === 'confirmed') {
    const due = first ? Buffer.concat([HELLO, model.asked]) : model.asked;
    prefix(rig.now.heard, due, context);
    if (!model.serverStalled && !model.lost) {
      equal(rig.now.heard.length, due.length, `${context}: the server has heard all`);
      equal(rig.waiting, 0, `${context}: all has been written`);
      if (model.clientEnded) ok(rig.now.far.readableEnded, `${context}: and the end`);
    }
  }
}

function prefix(got: Buffer, whole: Buffer, context: string): void {
  deepEqual(got, whole.subarray(0, got.length), `${context}: in order, nothing twice`);
}

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

const onLine = ({ phase }: Model): boolean => phase === 'promised' || phase === 'confirmed';

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
      'client stalls or goes on',
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
        if (model.phase !== 'promised') return;
        const length = model.answer === 'garbage' ? 4 : (ANSWERS[model.answer]?.length ?? 0);
        if (model.sent < length) return;
        if (model.answer === 'kept') model.phase = 'confirmed';
        else breaks(model);
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
        if (model.phase === 'promised') breaks(model);
      },
    ),
  ),
  fc.constant(
    step(
      'server stalls or goes on',
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
        if (model.phase === 'promised') breaks(model);
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
        else if (what === 'something else') rig.fresh({ ...PROMISED, revision: 9 });
        else if (what === 'another epoch') rig.fresh(PROMISED, 3);
        else if (what === 'a dead one') rig.fresh().near.destroy();
        else rig.fresh();
        model.phase = what === 'the same' ? 'confirmed' : 'over';
        model.failed = what !== 'the same' && what !== 'a dead one';
        Object.assign(model, { sent: 0, script: MORE, serverEnded: false, serverStalled: false });
      },
    ),
  ),
];

/** Whatever the client, the server and the line do, in any order: nothing is lost, doubled, or left. */
export function anyCourseEndsWell(runs: number): Promise<void> {
  return fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...Object.keys(ANSWERS), 'kept', 'kept', 'kept'),
      fc.commands(steps, { maxCommands: 25 }),
      async (which, commands) => {
        const rig = new Rig();
        const model: Model = {
          phase: 'promised',
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

/** All of them by name, for whoever wants to run them longer. */
export const PROPERTIES: Readonly<Record<string, (runs: number) => Promise<void>>> = {
  answersSurviveChunking,
  anyCourseEndsWell,
};
