// Tests the CLI, the shim and control with daemons and engines of another version. An answer in another form fails with `version_mismatch`.
import { mkdir } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { hearVersion, sayOtherVersion } from '../../daemon/cli/daemon-version.ts';
import type { Status } from '../../daemon/api/answers.ts';
import { rendered } from '../../daemon/cli/status/render.ts';
import { fail } from '../../daemon/errors/fail.ts';
import { BMUXD, makeSandbox, SHIM, startBmuxd, type Sandbox } from '../daemon/bmuxd.ts';
import { granted } from '../daemon/raw-http.ts';
import { run } from '../real/server.ts';

type Answers = Readonly<Record<string, unknown>>;

/** Starts a server on a Unix socket that answers each path with the given JSON. A string is sent unchanged. */
async function answering(t: Test, socketPath: string, answers: Answers): Promise<Server> {
  await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
  const server: Server = createServer((request, response) => {
    const answer = answers[`${request.method ?? ''} ${request.url ?? ''}`];
    if (answer === undefined) response.writeHead(404);
    response.end(typeof answer === 'string' ? answer : JSON.stringify(answer ?? {}));
  });
  server.on('upgrade', (_request, socket) => {
    const { upgrade } = answers;
    socket.end(typeof upgrade === 'string' ? upgrade : 'HTTP/1.1 404 Not Found\r\n\r\n');
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return server;
}

async function sandbox(t: Test): Promise<Sandbox> {
  const made = await makeSandbox();
  t.teardown(() => made.remove());
  return made;
}

const HEALTH = { schema: 1, state: 'ready', pid: 1, version: '9.8.7', sinceMs: 0 };
const MISMATCH =
  /bmuxd \d+\.\d+\.\d+ talks to bmuxd 9\.8\.7, which answers in another form\n[^]*Restart the daemon/;
const ROW = { id: 'g-1', generation: 'g', requestId: 'r', target: 'local', transport: 'local' };
const STATUS = {
  ...HEALTH,
  socket: '/s',
  engines: [],
  streams: 0,
  contexts: [],
  upstreams: [],
  problems: [],
};

t.test('answers in another form are reported with the version of the daemon', async (t) => {
  const rows: readonly [args: string[], path: string, foreign: readonly unknown[]][] = [
    [
      ['status'],
      'GET /v1/status',
      [
        HEALTH,
        { ...STATUS, schema: 2 },
        { ...STATUS, problems: [{ where: 'x', text: 'y' }] },
        { ...STATUS, upstreams: undefined, connections: [] },
        [],
        'no JSON',
      ],
    ],
    [
      ['streams'],
      'GET /v1/streams',
      [{ schema: 1, streams: [ROW], silent: [] }, { schema: 1, rows: [] }, null],
    ],
    [
      ['targets'],
      'GET /v1/targets',
      [
        { schema: 1, targets: { local: {} } },
        { schema: 1, targets: [{ name: 1 }] },
      ],
    ],
    [['reload'], 'POST /v1/reload', [{ schema: 1 }, { schema: 1, problems: ['broken'] }]],
    [
      ['events'],
      'GET /v1/events',
      [
        'data: {"type":"stream opened"}\n\n',
        'data: {"atMs":1e99,"type":"x"}\n\n',
        'data: {\n\n',
        'data: null\n\n',
      ],
    ],
    [['events', '--json'], 'GET /v1/events', ['data: {"at":1}\n\n']],
  ];
  for (const [args, path, foreign] of rows) {
    for (const answer of foreign) {
      const made = await sandbox(t);
      await answering(t, made.socketPath, { 'GET /v1/health': HEALTH, [path]: answer });
      const ran = await run(process.execPath, [BMUXD, ...args], made.env);
      t.match(
        ran,
        { status: 1, stdout: '', stderr: MISMATCH },
        `${args.join(' ')}: ${JSON.stringify(answer)}`,
      );
    }
  }
});

t.test('the doctor finds a version that differs once, with a remedy that ends no stream', async (t) => {
  const { data } = fail('restart_due', { installed: '9.9.9', running: '9.8.7' });
  for (const problems of [[], [{ where: 'package', failure: data }]]) {
    const made = await sandbox(t);
    await answering(t, made.socketPath, { 'GET /v1/status': { ...STATUS, problems } });
    const { stdout } = await run(process.execPath, [BMUXD, 'doctor', '--json'], made.env);
    const rows = JSON.parse(stdout) as {
      rows: { area: string; failure?: { code: string; remedy: string } }[];
    };
    const found = rows.rows.flatMap(({ area, failure }) => (area === 'daemon' ? (failure ?? []) : []));
    t.match(found, [{ code: 'restart_due', remedy: /`bmuxd restart`.*live streams go on/ }]);
    t.equal(found.length, 1);
  }
  t.notMatch(fail('version_mismatch', { own: 'a', other: 'b' }).data.remedy, /bmuxd stop/);
});

t.test('a version that differs is said with its remedy', async (t) => {
  const made = await sandbox(t);
  const problem = {
    ...fail('request_field_invalid', { field: 'new', why: 'it is unknown' }).data,
    type: 'x',
  };
  const server = await answering(t, made.socketPath, {
    'GET /v1/status': STATUS,
    'GET /v1/targets': problem,
  });
  server.prependListener('request', ({ url }, response) => {
    response.setHeader('Bmuxd-Version', '9.8.7');
    if (url === '/v1/targets') response.statusCode = 400;
  });
  const remedy = /^! the daemon is bmuxd 9\.8\.7, this command is \d.*: run `bmuxd restart` to use \d/m;
  t.match(await run(process.execPath, [BMUXD, 'status'], made.env), { status: 0, stdout: remedy });
  t.match(await run(process.execPath, [BMUXD, 'targets'], made.env), {
    status: 1,
    stderr: /talks to bmuxd 9\.8\.7.*\n {2}caused by: .*new.*\nRestart the daemon.* \[version_mismatch\]\n$/,
  });
  let said = '';
  const err = (text: string): void => {
    said += text;
  };
  const stderr = (isTTY: boolean): NodeJS.WriteStream & { fd: number } =>
    Object.create(process.stderr, { isTTY: { value: isTTY } }) as NodeJS.WriteStream & { fd: number };
  hearVersion('9.8.7');
  sayOtherVersion({ err, stderr: stderr(false) });
  t.equal(said, '', 'a script is not told');
  sayOtherVersion({ err, stderr: stderr(true) });
  t.match(said, /^bmuxd: the daemon is bmuxd 9\.8\.7, .*\n$/);

  const status: Status = { ...STATUS, schema: 1, log: '/log', state: 'degraded' };
  said = '';
  t.equal(rendered(status, 200).match(/bmuxd restart/g)?.length, 1);
  sayOtherVersion({ err, stderr: stderr(true) });
  t.equal(said, '', 'the status has said it');
  const due = fail('restart_due', { installed: '0.2.0', running: '9.8.7' }).data;
  const shown = rendered({ ...status, problems: [{ where: 'bmuxd', failure: due }] }, 200);
  t.equal(shown.match(/bmuxd restart/g)?.length, 1, 'the daemon says it itself');
});

t.test('answers with additional fields and unknown words are accepted', async (t) => {
  const made = await sandbox(t);
  const added = { ...STATUS, later: { x: 1 }, state: 'ready' };
  const engine = {
    generation: 'g',
    pid: 7,
    version: '9.8.7',
    sinceMs: 0,
    state: 'resting',
    streams: 0,
    x: 1,
  };
  await answering(t, made.socketPath, {
    'GET /v1/status': { ...added, engines: [engine] },
    'GET /v1/events': 'event: x\ndata: {"atMs":0,"type":"something new","more":[]}\n\n',
  });
  t.match(await run(process.execPath, [BMUXD, 'status'], made.env), { status: 0, stdout: /resting/ });
  const events = await run(process.execPath, [BMUXD, 'events'], made.env);
  t.match(events, { status: 0, stdout: /^1970-01-01T\S+ {2}something new\n$/ });
});

t.test('the answer to an upgrade in another form is reported', async (t) => {
  const old = 'HTTP/1.1 101 Switching Protocols\r\nBmux-Stream: {"id":"x-1","warnings":[]}\r\n\r\n';
  const made = await sandbox(t);
  await answering(t, made.streamsPath, { upgrade: old });
  const text = /this program talks to a bmuxd of another version, which answers in another form/;
  t.match(await run(process.execPath, [SHIM], made.env), { status: 1, stdout: '', stderr: text });
  t.match(await run(process.execPath, [BMUXD, 'env', '--no-start', 'local'], made.env), {
    status: 1,
    stdout: 'false\n',
    stderr: text,
  });
});

t.test('env: an answer about the target socket in another form is reported', async (t) => {
  const made = await sandbox(t);
  // `bmuxd env` takes the bytes after the 101 for the answer to its Ping.
  await answering(t, made.streamsPath, { upgrade: `${granted('x-1')}pong` });
  await answering(t, made.socketPath, {
    'GET /v1/health': HEALTH,
    'POST /v1/target-sockets': { schema: 1, socket: '/s' },
  });
  const ran = await run(process.execPath, [BMUXD, 'env', 'local'], made.env);
  t.match(ran, { status: 1, stdout: 'false\n', stderr: MISMATCH });
});

t.test('a daemon of another version can be stopped', async (t) => {
  const made = await sandbox(t);
  const answers = { 'GET /v1/health': { ok: true }, 'POST /v1/stop': 'bye' };
  const server = await answering(t, made.socketPath, answers);
  server.on('request', ({ url }) => {
    if (url === '/v1/stop') server.close();
  });
  t.match(await run(process.execPath, [BMUXD, 'stop'], made.env), { status: 0, stdout: /has stopped/ });
});

t.test('an engine of another version is listed with its version and as a problem', async (t) => {
  const bmuxd = await startBmuxd();
  t.teardown(() => bmuxd.stop());
  const socket = join(bmuxd.folder, 'd', 'engines', 'old1.sock');
  await answering(t, socket, {
    'GET /v1/engine': {
      schema: 1,
      engine: { generation: 'old1', pid: 42, version: '0.0.9' },
      connections: [],
    },
    'GET /v1/streams': { schema: 1, streams: [ROW] },
    'POST /v1/drain': {},
    'POST /v1/stop': {},
  });
  const status = await bmuxd.status();
  t.match(
    status.engines.find(({ generation }) => generation === 'old1'),
    { pid: 42, version: '0.0.9', state: 'other version' },
  );
  t.match(
    status.problems.find(({ where }) => where === 'engine old1'),
    { failure: { code: 'version_mismatch', detail: /talks to an engine of bmuxd 0\.0\.9, which answers/ } },
  );
  const shown = await bmuxd.bmuxd(['status']);
  t.match(shown, { status: 1, stdout: /old1 +42 +other version/ });
  const list = await bmuxd.bmuxd(['streams']);
  t.match(list, { status: 0, stdout: 'no streams\n', stderr: /engine old1 is of another version/ });
});
