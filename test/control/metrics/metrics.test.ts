// Tests the metrics of the real daemon: what a stream and a refusal count, engines that end, promtool, and the port on 127.0.0.1.
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { MAX_HEADER_BYTES, STREAM_PROTOCOL } from '../../../daemon/api/upgrade.ts';
import { startBmuxd } from '../../daemon/bmuxd.ts';
import { exchange } from '../../daemon/raw-http.ts';
import { TestClient } from '../../embedded/client.ts';
import { EmbeddedServer } from '../../embedded/server/server.ts';
import { onPath } from '../../real/find.ts';
import { waitFor } from '../../real/index.ts';
import { eventsOf } from '../../target-sockets/target-socket.ts';

const bmuxd = await startBmuxd({
  config: '[connections.targets.gone]\ntransport = "tls"\nhost = "127.0.0.1"\nport = 1\n',
});
t.teardown(() => bmuxd.stop());
const server = await EmbeddedServer.start({
  socketPath: join(bmuxd.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
  epoch: 4,
});
t.teardown(() => server.stop());

async function metrics(): Promise<string> {
  const { status, type, body } = await bmuxd.http('GET', '/v1/metrics');
  t.equal(status, 200);
  t.equal(type, 'text/plain; version=0.0.4; charset=utf-8');
  return String(body);
}

/** The value of one line, NaN where there is none. */
function valueIn(text: string, line: string): number {
  const found = text.split('\n').find((one) => one.startsWith(`${line} `));
  return Number(found?.slice(line.length + 1) ?? NaN);
}

const OPENED = 'bmuxd_stream_open_duration_seconds_count{transport="local",warmth="cold"}';
const ANSWERED = 'bmuxd_stream_first_answer_duration_seconds_count{transport="local",warmth="cold"}';
const UP = 'bmuxd_stream_bytes_total{transport="local",direction="up"}';
const DOWN = 'bmuxd_stream_bytes_total{transport="local",direction="down"}';
const LIVE = 'bmuxd_streams{transport="local",state="live"}';
const REQUESTS = 'bmuxd_stream_requests_total{entry="streams_socket"}';
const RESTARTS = 'bmuxd_engine_restarts_total';

t.test(
  'a stream, a refusal and an answer without a server are counted, over the end of an engine',
  async (t) => {
    await t.rejects(bmuxd.open({ target: 'gone' }), { code: 'tls_unreachable' });
    await t.rejects(bmuxd.open({ target: 'slotted', slot: 'none' }), { code: 'slot_unknown' });
    const { stream } = await bmuxd.open();
    const client = new TestClient(stream);
    await client.ping();
    let text = '';
    await waitFor('the live stream', async () => valueIn((text = await metrics()), LIVE) === 1);
    t.equal(valueIn(text, REQUESTS), 3);
    t.equal(valueIn(text, 'bmuxd_stream_refusals_total{class="refused"}'), 1);
    t.equal(valueIn(text, 'bmuxd_stream_refusals_total{class="policy"}'), 1);
    t.equal(valueIn(text, OPENED), 1);
    t.equal(valueIn(text, ANSWERED), 1);
    const bytes = [valueIn(text, UP), valueIn(text, DOWN)];
    t.ok(bytes.every((count) => count > 0));
    t.equal(valueIn(text, 'bmuxd_engines{state="serving"}'), 1);
    t.equal(valueIn(text, 'bmuxd_ready'), 1);

    const engine = await bmuxd.enginePid();
    process.kill(engine, 'SIGKILL');
    await t.rejects(client.ended());
    await waitFor('another engine', async () => {
      text = await metrics();
      return valueIn(text, RESTARTS) === 1 && valueIn(text, 'bmuxd_engines{state="serving"}') === 1;
    });
    t.equal(valueIn(text, OPENED), 1, 'what the killed engine has counted stays');
    t.strictSame([valueIn(text, UP), valueIn(text, DOWN)], bytes);
    t.equal(valueIn(text, LIVE), 0);
    const again = await bmuxd.open();
    again.stream.destroy();
    await waitFor('the engines to count together', async () => valueIn(await metrics(), OPENED) === 2);
  },
);

t.test('an engine that exits tells its last counts first', async (t) => {
  const before = valueIn(await metrics(), REQUESTS);
  const { stream } = await bmuxd.open();
  const client = new TestClient(stream);
  await client.ping();
  const engine = (await bmuxd.engines())[0]?.replace('.sock', '') ?? '';
  t.equal((await bmuxd.http('GET', '/v1/status')).status, 200);
  stream.destroy();
  const pid = await bmuxd.enginePid();
  // SIGTERM ends the engine gracefully within its time, between two looks of control.
  process.kill(pid, 'SIGTERM');
  await waitFor('another engine', async () => !(await bmuxd.engines()).includes(`${engine}.sock`));
  const text = await metrics();
  t.equal(valueIn(text, REQUESTS), before + 1);
});

t.test(
  'promtool finds nothing wrong',
  { skip: onPath('promtool') === undefined && 'promtool not found' },
  async (t) => {
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
      input: await metrics(),
      encoding: 'utf8',
    });
    t.equal(status, 0);
    t.equal(stdout + stderr, '');
  },
);

t.test('with metrics.port they are on 127.0.0.1, and nothing else is', async (t) => {
  const port = await freePort();
  const set = async (text: string): Promise<void> => {
    await writeFile(join(bmuxd.folder, 'settings', 'bmuxd.toml'), text);
    t.equal((await bmuxd.http('POST', '/v1/reload')).status, 200);
  };
  const get = (path: string, method = 'GET'): Promise<Response> =>
    fetch(`http://127.0.0.1:${String(port)}${path}`, { method, signal: AbortSignal.timeout(60_000) });
  await t.rejects(get('/metrics'), 'off by default');
  await set(`[metrics]\nport = ${String(port)}\n`);
  await waitFor('the port', async () =>
    get('/metrics').then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  t.match(await (await get('/metrics')).text(), /^bmuxd_ready [01]$/m);
  t.equal((await get('/v1/status')).status, 404);
  const refused = await get('/metrics', 'POST');
  t.equal(refused.status, 405);
  t.equal(refused.headers.get('allow'), 'GET, HEAD');

  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  t.teardown(() => taken.close());
  await set(`[metrics]\nport = ${String((taken.address() as AddressInfo).port)}\n`);
  await waitFor('the problem', async () =>
    (await bmuxd.status()).problems.some(({ failure }) => failure.code === 'metrics_port_unusable'),
  );
  await set('');
  await waitFor('no problem', async () => (await bmuxd.status()).problems.length === 0);
  await t.rejects(get('/metrics'), 'it is closed again');
});

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

t.test(
  'a request that is refused before its plan is counted, and told as an event where it has an id',
  async (t) => {
    const counts = async (): Promise<readonly number[]> => {
      const text = await metrics();
      const told = valueIn(text, 'bmuxd_events_total{type="stream refused"}');
      return [
        valueIn(text, REQUESTS),
        valueIn(text, 'bmuxd_stream_refusals_total{class="request"}') || 0,
        told,
      ];
    };
    const head = 'POST /v1/streams HTTP/1.1\r\n';
    const upgrade = `${head}Connection: Upgrade\r\nUpgrade: ${STREAM_PROTOCOL}\r\n`;
    const cases = [
      { sent: `${upgrade}Bmux-Request: {no\r\n\r\n`, code: 'request_json_invalid', events: 1 },
      { sent: `${upgrade}\r\n`, code: 'request_header_missing', events: 1 },
      { sent: `${upgrade}X: ${'x'.repeat(MAX_HEADER_BYTES)}\r\n\r\n`, code: 'request_too_large', events: 0 },
      { sent: `${head}\r\n`, code: 'upgrade_required', events: 0 },
      { sent: 'no HTTP\r\n\r\n', code: 'request_malformed', events: 0 },
    ];
    for (const { sent, code, events } of cases) {
      const before = await counts();
      t.match(await exchange(bmuxd.streamsPath, sent), `"code":"${code}"`);
      const expected = [1, 1, events].map((more, at) => (before[at] ?? 0) + more);
      let seen: readonly number[] = [];
      await waitFor(`the counts of ${code}`, async () => {
        seen = await counts();
        return seen.join() === expected.join();
      }).catch(() => undefined);
      t.same(seen, expected, code);
    }
    t.match((await eventsOf(bmuxd)).filter(({ type }) => type === 'stream refused').slice(-2), [
      { code: 'request_json_invalid', class: 'request' },
      { code: 'request_header_missing' },
    ]);
  },
);
