// Connections that ask nothing do not keep others out.
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { errnoOf } from '../../daemon/base/failure.ts';
import { descriptorLimit } from '../../daemon/base/process/descriptors.ts';
import { IdleConnections } from '../../daemon/sockets/idle-connections.ts';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { socketPairs } from '../engine/socket-pairs.ts';
import { waitFor } from '../real/child.ts';

t.test('above the limit the longest idle connections are closed', async (t) => {
  const pairs = await socketPairs();
  t.teardown(() => pairs.close());
  const idle = new IdleConnections({ max: 2 });
  const accepted: Socket[] = [];
  const asked: (() => void)[] = [];
  for (let at = 0; at < 5; at += 1) {
    const pair = await pairs.open();
    accepted.push(pair.accepted);
    asked.push(idle.add(pair.accepted));
  }
  // The first has asked something.
  asked[0]?.();
  await waitFor('two to be closed', () => accepted.filter(({ destroyed }) => destroyed).length === 2);
  t.strictSame(
    accepted.map(({ destroyed }) => destroyed),
    [false, true, true, false, false],
  );
});

const CONNECTIONS = 5000;
/** File descriptors that this test and control need. */
const NEEDED = 2 * CONNECTIONS + 1000;
const skip = descriptorLimit() < NEEDED && `fewer than ${NEEDED} file descriptors`;
t.test(`status and stop beside ${CONNECTIONS} idle connections`, { skip }, async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  const idle: Socket[] = [];
  t.teardown(() => {
    for (const socket of idle) socket.destroy();
  });
  for (const path of [bmuxd.socketPath, bmuxd.streamsPath]) {
    let open = 0;
    const connectOnce = (): void => {
      const socket = connect(path, () => (open += 1));
      socket.on('error', (error) => {
        // The queue of connections is full until a busy control accepts some.
        if (errnoOf(error) === 'EAGAIN') setTimeout(connectOnce, 20);
      });
      idle.push(socket);
    };
    for (let at = 0; at < CONNECTIONS; at += 1) {
      connectOnce();
      if (at % 500 === 499) await waitFor('the connects', () => open > at);
    }
    const { status } = await bmuxd.http('GET', '/v1/status');
    t.equal(status, 200);
    const { head } = await new Promise<{ head: string }>((resolve, reject) => {
      const socket = connect(bmuxd.streamsPath, () => socket.write('GET /v1/health HTTP/1.1\r\n\r\n'));
      socket.once('data', (chunk: Buffer) => resolve({ head: chunk.toString() })).once('error', reject);
      idle.push(socket);
    });
    t.match(head, /^HTTP\/1.1 200/);
    for (const socket of idle.splice(0)) socket.destroy();
  }
});
