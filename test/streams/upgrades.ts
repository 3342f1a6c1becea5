// Clients that write at every moment of an upgrade: with the request, while it is decided, handed over and dialled, and after the answer.
import { equal } from 'node:assert/strict';
import type { Bmuxd } from '../daemon/bmuxd.ts';
import { pattern } from '../embedded/traffic.ts';
import { Incoming, rawModeFrame, requestHead } from './requests.ts';
import { sleep } from '../../daemon/base/async/sleep.ts';

/** A small linear generator: a run can be told by its number. */
function dice(seed: number): (below: number) => number {
  let state = (seed * 2_654_435_761 + 12_345) >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** One upgrade: everything that the client says comes back, once, in order, and then the end. */
async function upgradeOnce(
  { streamsPath, env }: Pick<Bmuxd, 'streamsPath' | 'env'>,
  run: number,
): Promise<void> {
  const roll = dice(run);
  // Most are small, as commands are; some are larger than what a socket, a parser or a message takes at once.
  const size = [roll(300), roll(300), roll(20_000), 60_000 + roll(20_000), roll(600_000)][roll(5)] ?? 0;
  const said = Buffer.concat([requestHead({ env }), rawModeFrame({ type: 'echo' }), pattern(0, size)]);
  const incoming = new Incoming(streamsPath);
  const { socket } = incoming;
  const speak = async (): Promise<void> => {
    const cuts = roll(4);
    let at = 0;
    for (let cut = 0; cut <= cuts && at < said.length; cut += 1) {
      const next = cut === cuts ? said.length : at + 1 + roll(said.length - at);
      socket.write(said.subarray(at, next));
      at = next;
      // Up to a few ms: about as long as an upgrade takes.
      const wait = roll(6);
      if (wait > 0) await sleep(wait);
    }
    socket.end();
  };
  const speaking = speak();
  const { status, head } = await incoming.answer();
  equal(status, 101, head);
  await incoming.frame();
  const echoed = await incoming.bytes(size);
  equal(echoed.equals(pattern(0, size)), true, `run ${run}: ${size} bytes come back as they went`);
  equal((await incoming.toEnd()).length, 0, `run ${run}: and nothing after them`);
  await speaking;
  socket.destroy();
}

/** `runs` upgrades, `side` of them at a time. Wants an embedded server of epoch 4 at the daemon's local socket. Rejects at the first lost byte. */
export async function upgradesLoseNothing(
  bmuxd: Pick<Bmuxd, 'streamsPath' | 'env'>,
  runs: number,
  side = 16,
): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < runs) await upgradeOnce(bmuxd, (next += 1));
  };
  await Promise.all(Array.from({ length: side }, lane));
}
