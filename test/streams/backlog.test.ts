// Clients that come while the engine stands still wait in the kernel's queue. None is refused, as with a real bmux server.
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { whitelisted } from '../../daemon/api/caller-env.ts';
import { asciiJson } from '../../daemon/api/header.ts';
import type { TargetSocketAnswer } from '../../daemon/api/answers.ts';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { halt } from '../real/child.ts';

const CLIENTS = 700;

/** The kernel's own limit, where it can be read. */
function kernelLimit(): number {
  try {
    return Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'));
  } catch {
    return 128;
  }
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket)).once('error', reject);
  });
}

const skip = kernelLimit() < CLIENTS && 'the kernel queues fewer clients';
t.test(`${CLIENTS} clients while the engine stands still`, { skip }, async (t) => {
  const bmuxd = await startBmuxd({
    config: `[connections.targets.prod]\ntransport = "tls"\nhost = "127.0.0.1"\nport = 1\n`,
  });
  t.teardown(() => bmuxd.stop());
  const request = asciiJson({ target: 'prod', env: whitelisted(bmuxd.env) });
  const { body } = await bmuxd.http('POST', '/v1/target-sockets', { 'bmux-request': request });
  const { socketPath } = body as TargetSocketAnswer;
  const engine = await bmuxd.enginePid();
  for (const path of [bmuxd.streamsPath, socketPath]) {
    await halt(engine);
    const clients = await Promise.allSettled(Array.from({ length: CLIENTS }, () => connected(path)));
    process.kill(engine, 'SIGCONT');
    const failed = clients.flatMap((client) => (client.status === 'rejected' ? [String(client.reason)] : []));
    t.strictSame([...new Set(failed)], [], `${failed.length} refused at ${path}`);
    for (const client of clients) if (client.status === 'fulfilled') client.value.destroy();
  }
});
