// Property: connections that ask nothing, on every socket of the daemon, keep nobody out: status, streams and stop work at any number.
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { startBmuxd, makeSandbox, type Bmuxd } from '../daemon/bmuxd.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import { waitFor } from '../real/child.ts';
import { Incoming, requestHead } from '../streams/requests.ts';
import type { Started } from './soaks.ts';

/** Connects at once: the kernel queues 4,096 for a socket at most. */
const AT_ONCE = 250;
/** Connections of a run whose figures are shown. */
const SHOWN = 1000;

async function open(path: string, count: number, all: Socket[]): Promise<void> {
  let connected = 0;
  for (let at = 1; at <= count; at += 1) {
    const socket = connect(path, () => (connected += 1));
    all.push(socket.on('error', () => (connected += 1)));
    if (at % AT_ONCE === 0 || at === count) await waitFor('the connects', () => connected >= at);
  }
}

/** Opens a stream to the local server, and ends it. */
async function stream(bmuxd: Bmuxd): Promise<void> {
  const incoming = new Incoming(bmuxd.streamsPath);
  incoming.socket.write(requestHead(bmuxd));
  const { status, head } = await incoming.answer();
  incoming.socket.destroy();
  if (status !== 101) throw new Error(head);
}

async function timed(work: () => Promise<unknown>): Promise<string> {
  const since = performance.now();
  await work();
  return `${(performance.now() - since).toFixed(0)} ms`;
}

/** `connections`: how many the whole soak opens. */
export async function startIdle(connections: number): Promise<Started> {
  const sandbox = await makeSandbox();
  const server = await launchEmbedded({
    socketPath: join(sandbox.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    server: { epoch: 4 },
  });
  const bmuxd = await startBmuxd({ sandbox });
  const all: Socket[] = [];
  const succeeds = async (command: string): Promise<void> => {
    const { status, stderr } = await bmuxd.bmuxd([command]);
    if (status !== 0) throw new Error(`bmuxd ${command}: ${String(status)}\n${stderr}`);
  };
  return {
    run: async (more) => {
      for (const path of [bmuxd.socketPath, bmuxd.streamsPath]) await open(path, Math.ceil(more / 2), all);
      const status = await timed(() => succeeds('status'));
      const opened = await timed(() => stream(bmuxd));
      if (connections >= SHOWN)
        process.stderr.write(`${String(all.length)} connections: status ${status}, a stream ${opened}\n`);
    },
    // Each connection takes memory.
    pids: () => Promise.resolve([]),
    stop: async () => {
      const stopped = await timed(() => succeeds('stop'));
      if (connections >= SHOWN) process.stderr.write(`${String(all.length)} connections: stop ${stopped}\n`);
      for (const socket of all) socket.destroy();
      await bmuxd.stop();
      await server.stop();
      await sandbox.remove();
    },
  };
}
