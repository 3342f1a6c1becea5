// Tests HTTP on the control socket and the streams socket of the real daemon: routes, the upgrade, and all refusals.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import t from 'tap';
import type { Health, StreamInfo, StreamList, TargetList } from '../../../daemon/api/answers.ts';
import { encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import { startBmuxd } from '../../daemon/bmuxd.ts';
import { answerIn, exchange, upgrade, upgradeText, type RawAnswer } from '../../daemon/raw-http.ts';
import { TestClient } from '../../embedded/client.ts';
import { EmbeddedServer } from '../../embedded/server/server.ts';
import { onPath } from '../../real/find.ts';
import { anyBytesGetAnAnswer } from '../properties.ts';

const bmuxd = await startBmuxd({
  config: `[connections.targets.prod]
transport = "tls"
host = "127.0.0.1"
port = 1
`,
});
t.teardown(() => bmuxd.stop());
const { socketPath, streamsPath } = bmuxd;
const serverSocket = `${bmuxd.env['BMUX_RUNTIME_DIR'] ?? ''}/server.sock`;

const raw = async (text: string): Promise<RawAnswer> => answerIn(await exchange(socketPath, text));
/** Sends raw text to the streams socket. */
const onStreams = async (text: string): Promise<RawAnswer> => answerIn(await exchange(streamsPath, text));
const problem = (answer: RawAnswer): Record<string, unknown> => {
  if (answer.headers['content-type'] !== 'application/problem+json')
    throw new Error(`no problem: ${JSON.stringify(answer)}`);
  return JSON.parse(answer.body) as Record<string, unknown>;
};

t.test('status, health, targets and streams are plain HTTP', async (t) => {
  const health = (await bmuxd.http('GET', '/v1/health')).body as Health;
  t.match(health, { schema: 1, state: 'ready', pid: bmuxd.pid });
  const status = await bmuxd.status();
  t.match(status, {
    schema: 1,
    state: 'ready',
    pid: bmuxd.pid,
    socket: socketPath,
    streams: 0,
    problems: [],
  });
  t.equal(status.engines.length, 1);
  const targets = (await bmuxd.http('GET', '/v1/targets')).body as TargetList;
  t.same(
    targets.targets.map(({ name, transport, address, isDefault }) => [name, transport, address, isDefault]),
    [
      ['local', 'local', `local:${serverSocket}`, true],
      ['prod', 'tls', 'tls:127.0.0.1:1', false],
    ],
  );
  t.same((await bmuxd.http('GET', '/v1/streams')).body, { schema: 1, streams: [], silent: [] });
});

t.test('curl reads the status', { skip: onPath('curl') === undefined && 'curl not found' }, async (t) => {
  const out = await new Promise<string>((resolve, reject) => {
    execFile('curl', ['-sS', '--unix-socket', socketPath, 'http://bmuxd/v1/status'], (error, stdout) => {
      if (error === null) resolve(stdout);
      else reject(new Error('curl failed', { cause: error }));
    });
  });
  t.match(JSON.parse(out), { schema: 1, pid: bmuxd.pid });
});

t.test(
  'a stream is answered with 101 and its data, and bytes sent with the request are not lost',
  async (t) => {
    const server = await EmbeddedServer.start({ socketPath: serverSocket, epoch: 4 });
    t.teardown(() => server.stop());
    const ping = encodeRequestFrame(4, 77n, { type: 'ping' });
    const { answer, socket } = await upgrade(streamsPath, '{"clientName":"\\u00fc"}', ping);
    t.equal(answer.status, 101);
    t.match(answer.headers, { upgrade: 'bmux-stream/1', connection: 'Upgrade' });
    const info = JSON.parse(answer.headers['bmux-stream'] ?? '') as StreamInfo;
    t.match(info, { target: 'local', transport: 'local', epoch: 4, warnings: [] });
    const client = new TestClient(socket);
    t.equal((await client.response(77n)).type, 'pong');
    const { streams } = (await bmuxd.http('GET', '/v1/streams')).body as StreamList;
    t.match(streams, [{ id: info.id, clientName: 'ü', state: 'live', target: 'local' }]);

    t.equal((await bmuxd.http('DELETE', `/v1/streams/${info.id}`)).status, 202);
    await client.ended();
    const unknown = await bmuxd.http('DELETE', `/v1/streams/${info.id}x`);
    t.match(unknown, { status: 404, type: 'application/problem+json', body: { code: 'stream_unknown' } });
  },
);

t.test('ifRunning without a server is answered with 204', async (t) => {
  const answer = await onStreams(upgradeText('{"ifRunning":true}'));
  t.match(answer, { status: 204, body: '' });
});

t.test('a refusal is a problem with the text, the remedy and the exit status', async (t) => {
  const answer = await onStreams(upgradeText('{}'));
  t.equal(answer.status, 503);
  t.match(problem(answer), {
    type: 'urn:bmuxd:problem:server_not_running',
    status: 503,
    code: 'server_not_running',
    detail: /^bmux server is not running \(IPC endpoint unavailable\)\.\nRun `bmux server start --daemon`\./,
    remedy: /\w/,
    exitStatus: 1,
    requestId: /\w/,
  });
});

t.test('a refusal contains warnings', async (t) => {
  const answer = await onStreams(upgradeText('{"target":"mispelt"}'));
  t.match(problem(answer), {
    code: 'server_not_running',
    warnings: [/^target 'mispelt' is not configured: connecting to the local server$/],
  });
  const shim = await bmuxd.shim(['mispelt']);
  t.match(shim.stderr, /^bmux-stream: target 'mispelt' is not configured.*\nbmux server is not running/);
});

t.test('ifRunning: an unreachable server counts as not running, but a timeout is an error', async (t) => {
  // The public key of RFC 8032 §7.1, TEST 1: no host here has it.
  const id = 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a';
  await bmuxd.configure(
    'bmux.toml',
    `[connections.targets.far]\ntransport = "iroh"\nendpoint_id = "${id}"\niroh_ip_addr = "127.0.0.1:9"\nconnect_timeout_ms = 500\n`,
  );
  for (const [target, status] of [
    ['tls://127.0.0.1:1', 204],
    ['far', 504],
  ] as const) {
    t.equal(
      (await onStreams(upgradeText(JSON.stringify({ target, ifRunning: true })))).status,
      status,
      target,
    );
  }
});

const get = (path: string, ...headers: string[]): string =>
  [`GET ${path} HTTP/1.1`, 'Connection: close', ...headers, '', ''].join('\r\n');

/** Requests that the streams socket refuses. */
const REFUSED_STREAMS: readonly [what: string, text: string, status: number, code: string][] = [
  ['no JSON', upgradeText('{"target":'), 400, 'request_json_invalid'],
  ['UTF-8', upgradeText('{"target":"\u00c3\u00bc"}'), 400, 'request_json_invalid'],
  ['an unknown field', upgradeText('{"tarjet":"x"}'), 400, 'request_field_invalid'],
  ['an unknown variable', upgradeText('{"env":{"AWS_SECRET":"x"}}'), 400, 'request_field_invalid'],
  ['two requests', upgradeText('{}', ['Bmux-Request: {}']), 400, 'request_field_invalid'],
  ['no request', upgradeText('').replace(/Bmux-Request: \r\n/, ''), 400, 'request_header_missing'],
  ['a websocket', upgradeText('{}').replace('bmux-stream/1', 'websocket'), 400, 'upgrade_unsupported'],
  [
    'an upgrade on another path',
    upgradeText('{}').replace('/v1/streams', '/v1/status'),
    400,
    'upgrade_unsupported',
  ],
  ['no upgrade', 'POST /v1/streams HTTP/1.1\r\nConnection: close\r\n\r\n', 426, 'upgrade_required'],
  ['too large a header', upgradeText(`{"target":"${'x'.repeat(70_000)}"}`), 431, 'request_too_large'],
  ['no such path', get('/v1/status'), 404, 'route_unknown'],
  ['a proxy request', 'CONNECT a:1 HTTP/1.1\r\n\r\n', 404, 'route_unknown'],
  ['an expectation', get('/v1/health', 'Expect: tea'), 400, 'request_malformed'],
  ['no HTTP', 'hello\r\n\r\n', 400, 'request_malformed'],
  ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400, 'request_malformed'],
];
/** Requests that the control socket refuses. */
const REFUSALS: typeof REFUSED_STREAMS = [
  ['a stream', upgradeText('{}'), 421, 'wrong_socket'],
  [
    'a stream without an upgrade',
    'POST /v1/streams HTTP/1.1\r\nConnection: close\r\n\r\n',
    421,
    'wrong_socket',
  ],
  [
    'a plan without a request header',
    'POST /v1/plans HTTP/1.1\r\nConnection: close\r\n\r\n',
    400,
    'request_header_missing',
  ],
  [
    'too large a header',
    get('/v1/targets', `Bmux-Request: {"target":"${'x'.repeat(90_000)}"}`),
    431,
    'request_too_large',
  ],
  [
    'too many bytes',
    `POST /v1/reload HTTP/1.1\r\nConnection: close\r\nContent-Length: 5000\r\n\r\n${'x'.repeat(5000)}`,
    413,
    'request_body_too_large',
  ],
  ['no such path', get('/v2/status'), 404, 'route_unknown'],
  ['a broken path', get('/%'), 400, 'request_malformed'],
  ['another method', 'PUT /v1/status HTTP/1.1\r\nConnection: close\r\n\r\n', 405, 'method_unknown'],
  ['a proxy request', 'CONNECT a:1 HTTP/1.1\r\n\r\n', 404, 'route_unknown'],
  ['an expectation', get('/v1/status', 'Expect: tea'), 400, 'request_malformed'],
  ['no HTTP', 'hello\r\n\r\n', 400, 'request_malformed'],
  ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400, 'request_malformed'],
  ['bad targets request', get('/v1/targets', 'Bmux-Request: []'), 400, 'request_json_invalid'],
];
t.test('invalid requests are refused with a code, and the daemon goes on', async (t) => {
  const check = async (
    ask: typeof raw,
    [what, text, status, code]: (typeof REFUSALS)[number],
  ): Promise<void> => {
    const answer = await ask(text);
    t.match({ status: answer.status, ...problem(answer) }, { status, code, exitStatus: 2 }, what);
  };
  await Promise.all([
    ...REFUSALS.map((row) => check(raw, row)),
    ...REFUSED_STREAMS.map((row) => check(onStreams, row)),
  ]);
  t.equal((await bmuxd.status()).pid, bmuxd.pid);
});

t.test('HEAD of the events ends with the head', async (t) => {
  const { status } = await raw('HEAD /v1/events HTTP/1.1\r\nHost: bmuxd\r\nConnection: close\r\n\r\n');
  t.equal(status, 200);
});

t.test('a request of 64 KiB is accepted, a longer one is not', async (t) => {
  const request = JSON.stringify({ cwd: `/${'b'.repeat(4000)}`, ifRunning: true });
  t.equal((await onStreams(upgradeText(request.padEnd(64 * 1024)))).status, 204);
  const larger = await onStreams(upgradeText(`${request.slice(0, -1).padEnd(64 * 1024)}}`));
  t.match(problem(larger), { status: 431, code: 'request_too_large' });
});

t.test('a request that is not finished in time is refused, and silent clients are closed', async (t) => {
  const never = connect(streamsPath);
  t.teardown(() => never.destroy());
  const silent = new Promise<void>((resolve) =>
    never
      .once('close', resolve)
      .on('error', () => undefined)
      .resume(),
  );
  // A client that sends an invalid request and does not read the refusal.
  const deaf = connect(streamsPath);
  deaf.on('error', () => undefined).write(upgradeText('{'));
  t.teardown(() => deaf.destroy());
  const slow = await onStreams('POST /v1/streams HTTP/1.1\r\nBmux-Request: {');
  t.match({ status: slow.status, ...problem(slow) }, { status: 408, code: 'request_timeout' });
  await silent;
});

t.test('any bytes are answered, and memory does not grow', async (t) => {
  const rss = (): number =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${String(bmuxd.pid)}/status`, 'utf8'))?.[1] ?? 0);
  await anyBytesGetAnAnswer(socketPath, 50);
  await anyBytesGetAnAnswer(streamsPath, 50);
  const before = process.platform === 'linux' ? rss() : 0;
  await anyBytesGetAnAnswer(socketPath, 150);
  await anyBytesGetAnAnswer(streamsPath, 150);
  if (process.platform === 'linux') t.ok(rss() - before < 50_000, `grew by ${String(rss() - before)} kB`);
  t.notMatch(bmuxd.log(), /stream request|"level":"(error|fatal)"/);
  t.match(await bmuxd.status(), { pid: bmuxd.pid, state: 'ready' });
});
