// A target that never answers holds up no request to another one.
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import type { StreamList, Waiting } from '../../daemon/api/answers.ts';
import { startBmuxd } from '../daemon/bmuxd.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import { waitFor } from '../real/child.ts';
import { Incoming, requestHead } from './requests.ts';

const REQUESTS = 1000;
const LIMIT = 256;

t.test('1,000 requests to a mute target, and a healthy one beside it', async (t) => {
  const held = new Set<Socket>();
  let leaving = false;
  const mute = createServer((socket) => {
    socket.on('error', () => undefined).on('close', () => held.delete(socket));
    if (leaving) socket.destroy();
    else held.add(socket);
  });
  mute.listen(0, '127.0.0.1');
  await once(mute, 'listening');
  const { port } = mute.address() as AddressInfo;
  const bmuxd = await startBmuxd({
    config: `[connections.targets.mute]\ntransport = "tls"\nhost = "127.0.0.1"\nport = ${port}\nconnect_timeout_ms = 300000\n`,
  });
  const server = await launchEmbedded({
    socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    server: { epoch: 4 },
  });
  t.teardown(async () => {
    for (const socket of held) socket.destroy();
    mute.close();
    await bmuxd.stop();
    await server.stop();
  });
  await t.test('a request that waits is told so, and the list shows it', async (t) => {
    // It does not ask to be told.
    const silent = new Incoming(bmuxd.streamsPath);
    let heard = '';
    silent.takeAll((chunk) => (heard += chunk.toString()));
    silent.socket.write(requestHead(bmuxd, { target: 'mute' }));
    const stop = new AbortController();
    const told: Waiting[] = [];
    const onWaiting = (waiting: Waiting): void => void told.push(waiting);
    const opening = bmuxd.open({ target: 'mute', signal: stop.signal, onWaiting });
    await waitFor('the news', () => told.length > 0);
    t.match(told, [{ step: 'connecting', target: 'mute', transport: 'tls' }]);
    t.equal(heard, '');
    const { streams } = (await bmuxd.http('GET', '/v1/streams')).body as StreamList;
    t.match(streams, [{ state: 'opening', waiting: { step: 'connecting' } }, { state: 'opening' }]);
    t.match((await bmuxd.bmuxd(['streams'])).stdout, / connecting \d+ s /);
    stop.abort(new Error('enough'));
    await t.rejects(opening, /enough/);
    silent.socket.destroy();
    await waitFor('both to be gone', async () => {
      for (const socket of held) socket.destroy();
      return ((await bmuxd.http('GET', '/v1/streams')).body as StreamList).streams.length === 0;
    });
  });

  await t.test('a request without a plan is told and listed, too', async (t) => {
    const state = join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'auth-state.json');
    await writeFile(state, JSON.stringify({ access_token: 'x', account_id: 1 }), { mode: 0o600 });
    const stop = new AbortController();
    const told: Waiting[] = [];
    const opening = bmuxd.open({
      target: 'bmux://demo',
      env: { ...bmuxd.env, BMUX_CONTROL_PLANE_URL: `http://127.0.0.1:${port}` },
      signal: stop.signal,
      onWaiting: (waiting) => void told.push(waiting),
    });
    await waitFor('the news', () => told.length > 0);
    t.match(told, [{ step: 'planning' }]);
    const { planning } = (await bmuxd.http('GET', '/v1/streams')).body as StreamList;
    t.match(planning, [{ requestId: String, sinceMs: Number }]);
    t.match((await bmuxd.bmuxd(['streams'])).stdout, / planning \d+ s /);
    stop.abort(new Error('enough'));
    await t.rejects(opening, /enough/);
  });

  const waiting: { client: Incoming; text: string }[] = [];
  const answered = (): number => waiting.filter(({ client }) => client.ended).length;
  for (let at = 0; at < REQUESTS; at += 1) {
    const client = new Incoming(bmuxd.streamsPath);
    client.socket.write(requestHead(bmuxd, { target: 'mute' }));
    const row = { client, text: '' };
    client.takeAll((chunk) => (row.text += chunk.toString()));
    waiting.push(row);
  }
  const expected = REQUESTS - LIMIT;
  await waitFor('the refusals', () => answered() >= expected);
  const isBusy = (text: string): boolean => /"code":"(target|engine)_busy"/.test(text);
  const refusedOtherwise = waiting.filter(({ client, text }) => client.ended && !isBusy(text));
  t.same(
    refusedOtherwise.map(({ text }) => text),
    [],
  );
  t.equal(answered(), expected, `${LIMIT} requests wait`);
  for (let at = 0; at < 50; at += 1) {
    const client = new Incoming(bmuxd.streamsPath);
    client.socket.write(requestHead(bmuxd));
    const { status, head } = await client.answer();
    if (status !== 101) t.equal(head, '', 'a request to the healthy server was refused');
    client.socket.destroy();
  }
  t.equal(answered(), expected, 'and went on waiting');
  // A dial that is still on its way must not wait for an answer.
  leaving = true;
  for (const socket of held) socket.destroy();
  await waitFor('every end', () => answered() === REQUESTS);
  const busy = waiting.map(({ text }) => text).filter(isBusy);
  t.equal(busy.length, expected);
  t.match(busy[0], /streams\.max_waiting/);
});
