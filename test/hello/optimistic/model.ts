// A model of the optimistic stream: the state in which it should be after each step, and the checks between two steps.
import { deepEqual, equal, ok } from 'node:assert/strict';
import { Failure } from '../../../daemon/base/failure.ts';
import { HELLO_REQUEST_ID } from '../../../daemon/hello/handshake.ts';
import { mayReplay } from '../../../daemon/hello/replay.ts';
import { encodeResponseFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import { answer, EPOCH, EXPECTED, HELLO, turns, type Rig } from './rig.ts';

/** The expected answer, and answers that differ from it. */
export const ANSWERS: Readonly<Record<string, Buffer>> = {
  expected: answer(),
  'another revision': answer({ ...EXPECTED, revision: 2 }),
  'a capability less': answer({ ...EXPECTED, capabilities: EXPECTED.capabilities.slice(1) }),
  refused: encodeResponseFrame(EPOCH, HELLO_REQUEST_ID, { type: 'error', code: 'internal', message: 'no' }),
  'another id': answer(EXPECTED, 2n),
  'an event': answer(EXPECTED, HELLO_REQUEST_ID, 'event'),
  'another version': answer(EXPECTED, HELLO_REQUEST_ID, 'response', 3),
  'another epoch': answer(EXPECTED, HELLO_REQUEST_ID, 'response', EPOCH, 3),
  garbage: Buffer.alloc(20, 0xff),
};

/** The state in which the optimistic stream should be, and what both sides must have received by now. */
export interface Model {
  phase: 'unconfirmed' | 'unsure' | 'replacing' | 'confirmed' | 'over';
  answer: keyof typeof ANSWERS;
  /** Bytes of `script` that were sent on the current line. */
  sent: number;
  /** What the server sends on the current line: answer and MORE on the first line, MORE on a new one. */
  script: Buffer;
  /** All that the client has sent. */
  asked: Buffer;
  clientEnded: boolean;
  clientStalled: boolean;
  serverEnded: boolean;
  serverStalled: boolean;
  /** The near end was closed after an end of one or both sides. Only the clean-up is checked from then on. */
  lost: boolean;
  /** The stream ended because the expected answer did not come, and for no other reason. */
  failed: boolean;
}

export const MORE = Buffer.from(Array.from({ length: 500 }, (_, index) => index % 251));

/** The expected answer has not come. */
export function fails(model: Model): void {
  model.failed = !mayReplay(EPOCH, model.asked);
  // Bytes may not have been forwarded yet to a server that does not read. Such bytes need not be harmless.
  model.phase = model.failed ? (model.serverStalled ? 'unsure' : 'over') : 'replacing';
}

/** Checks what must hold between two steps; `what` is the last step. */
export async function check(model: Model, rig: Rig, what: string): Promise<void> {
  await turns();
  if (model.phase === 'unsure') {
    model.failed = rig.give === undefined;
    model.phase = model.failed ? 'over' : 'replacing';
  }
  const { phase } = model;
  const first = rig.lines.length === 1;
  const context = `${what}: ${phase}, ${rig.log.join(', ')}`;
  if (phase === 'unconfirmed')
    deepEqual([rig.confirmed, rig.failures.length, rig.heard.length], [0, 0, 0], context);
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
    if (!model.clientStalled && !model.lost)
      equal(rig.heard.length, due.length, `${context}: the client has received all`);
    if (!model.clientStalled && !model.lost && model.serverEnded) ok(rig.ended, `${context}: and the end`);
  }
  if (phase === 'unconfirmed' || phase === 'confirmed') {
    const due = first ? Buffer.concat([HELLO, model.asked]) : model.asked;
    prefix(rig.now.heard, due, context);
    if (!model.serverStalled && !model.lost) {
      equal(rig.now.heard.length, due.length, `${context}: the server has received all`);
      equal(rig.waiting, 0, `${context}: every write has called back`);
      if (model.clientEnded) ok(rig.now.far.readableEnded, `${context}: and the end`);
    }
  }
}

function prefix(got: Buffer, whole: Buffer, context: string): void {
  deepEqual(got, whole.subarray(0, got.length), `${context}: in order, nothing twice`);
}

/** True when there is an inner stream. */
export const onLine = ({ phase }: Model): boolean => phase === 'unconfirmed' || phase === 'confirmed';
