// The streams socket: time to the first byte of a stream, streams per second, and the time that `bmux-stream` adds to a bare Node process.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startFar } from '../rig/far.ts';
import { startDaemon } from './first-answer.ts';
import type { Bench, Goal, Measure } from '../measure.ts';
import { baseEnv, startProgram } from '../rig/processes.ts';
import { leastFirstByte, runToEnd, shimFirstByte } from '../rig/programs.ts';
import { requestStream, perSecond, plainPing, upgradeFor, upgradeWithPing } from '../rig/upgrade.ts';

/** Requests in progress at the same time. */
const WIDTH = 16;

const SOON: Goal = { text: '<= 0.6 ms', met: ({ ours }) => ours.median <= 0.6 };
const MANY: Goal = { text: '>= 3000 per s', met: ({ ours }) => ours.median >= 3000 };
const LIGHT: Goal = { text: '<= bare node + 4 ms', met: ({ added }) => added.median <= 4 };

async function requests(bench: Bench): Promise<void> {
  const far = bench.own('far end', await startFar({ way: 'local', embedded: true }));
  const daemon = bench.own('daemon', await startDaemon(far));
  const asked = upgradeWithPing(daemon, 'local');
  const plain = 'plain socket';
  const bare = 'bare accept and ask in Node';
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-bare-'));
  bench.own('folder', { stop: () => rm(folder, { recursive: true, force: true }) });
  const least = { streamsPath: join(folder, 'bare.sock') };
  bench.own('bare', await startProgram('bare-accept', { listen: least.streamsPath, path: far.socketPath }));
  await bench.compare(
    'streams socket, connect to first byte',
    'ms',
    bench.count(1000, 100),
    [
      { name: 'broker [embedded server]', once: () => requestStream(daemon, asked) },
      { name: plain, once: () => plainPing(far.socketPath) },
      { name: bare, once: () => requestStream(least, asked) },
    ],
    { goals: { [plain]: SOON } },
  );
  const total = bench.amount(4000, 300);
  await bench.compare(
    'stream requests',
    'per s',
    bench.count(5, 2),
    [
      {
        name: 'broker [embedded server]',
        once: () => perSecond(total, WIDTH, () => requestStream(daemon, asked)),
      },
      { name: plain, once: () => perSecond(total, WIDTH, () => plainPing(far.socketPath)) },
      { name: bare, once: () => perSecond(total, WIDTH, () => requestStream(least, asked)) },
    ],
    { goals: { [plain]: MANY } },
  );
}

async function shim(bench: Bench): Promise<void> {
  const far = bench.own('far end', await startFar({ way: 'local', embedded: true }));
  const daemon = bench.own('daemon', await startDaemon(far));
  const bare = 'node -e 0';
  const request = upgradeFor(daemon, 'local');
  await bench.compare(
    'shim process, spawn to first byte',
    'ms',
    bench.count(60, 8),
    [
      { name: 'bmux-stream [embedded server]', once: () => shimFirstByte(daemon, 'local') },
      { name: 'ten lines on node:net', once: () => leastFirstByte(daemon, request) },
      { name: bare, once: () => runToEnd(process.execPath, ['-e', '0'], baseEnv()) },
    ],
    { goals: { [bare]: LIGHT } },
  );
}

export const streamRequests: Measure = {
  name: 'stream-requests',
  about: 'streams socket: connect to first byte, requests per second; shim process against bare node',
  run: async (bench) => {
    await bench.part('streams socket', () => requests(bench));
    await bench.part('shim process', () => shim(bench));
  },
};
