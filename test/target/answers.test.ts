// Compares what is made of unusual answers of a control plane with the real bmux.
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { resolveTarget } from '../../daemon/target/resolve.ts';
import { failureOf } from '../policy/failure-of.ts';
import { enclosed, runBmux } from '../policy/real-bmux.ts';
import { realBmux } from '../real/index.ts';
import { inputs, ownFolder } from './sample.ts';

const BODY = '{"target":"tls://x:y"}';
const ok = (head = '', body = BODY, start = 'HTTP/1.1 200 OK'): string =>
  `${start}\r\ncontent-length: ${String(Buffer.byteLength(body))}\r\n${head}\r\n${body}`;
const headers = (count: number, length = 1): string =>
  Array.from({ length: count }, (_, index) => `x-${String(index)}: ${'v'.repeat(length)}\r\n`).join('');
const nested = (depth: number): string => `{"a":${'['.repeat(depth)}${']'.repeat(depth)},${BODY.slice(1)}`;

const chunked = (body: string): string => `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${body}`;

/** The failure that bmux's text stands for; the target in a good answer has a bad port. */
const TEXTS: readonly [text: string, code: string][] = [
  ['invalid TLS port', 'tls_port_invalid'],
  ['failed contacting', 'control_plane_unreachable'],
  ['share link not found', 'share_link_unknown'],
  ['failed parsing share lookup response', 'share_lookup_unparsable'],
];

const ROWS: readonly [name: string, answer: string, code: string][] = [
  ['a plain one', ok(), 'tls_port_invalid'],
  ['99 headers besides the length', ok(headers(99)), 'tls_port_invalid'],
  ['100 headers besides the length', ok(headers(100)), 'control_plane_unreachable'],
  ['a head of 400 KB', ok(headers(90, 4400)), 'tls_port_invalid'],
  [
    'another protocol',
    'HTTP/1.1 101 Switching Protocols\r\nupgrade: foo\r\nconnection: upgrade\r\n\r\n',
    'share_link_unknown',
  ],
  ['early hints first', `HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n${ok()}`, 'tls_port_invalid'],
  ['100 with an end first', `HTTP/1.1 100 Continue\r\nconnection: close\r\n\r\n${ok()}`, 'tls_port_invalid'],
  ['100 of HTTP/1.0 first', `HTTP/1.0 100 Continue\r\n\r\n${ok()}`, 'tls_port_invalid'],
  ['status 99', ok('', BODY, 'HTTP/1.1 099 X'), 'control_plane_unreachable'],
  ['status 999', ok('', BODY, 'HTTP/1.1 999 X'), 'share_link_unknown'],
  ['HTTP/2.0', ok('', BODY, 'HTTP/2.0 200 OK'), 'control_plane_unreachable'],
  ['HTTP/1.0', `HTTP/1.0 200 OK\r\n\r\n${BODY}`, 'tls_port_invalid'],
  [
    'HTTP/1.0 in chunks',
    `HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n16\r\n${BODY}\r\n0\r\n\r\n`,
    'control_plane_unreachable',
  ],
  [
    'a redirect to a file',
    ok('location: file:///etc/passwd\r\n', BODY, 'HTTP/1.1 302 F'),
    'share_link_unknown',
  ],
  [
    'a redirect to FTP',
    ok('location: ftp://127.0.0.1/x\r\n', BODY, 'HTTP/1.1 302 F'),
    'control_plane_unreachable',
  ],
  [
    'a redirect to a mail address',
    ok('location: mailto:a@b\r\n', BODY, 'HTTP/1.1 302 F'),
    'control_plane_unreachable',
  ],
  ['a redirect in Latin-1', ok('location: /\u00fc\r\n', BODY, 'HTTP/1.1 302 F'), 'share_link_unknown'],
  ['lines without CR', ok().replaceAll('\r', ''), 'tls_port_invalid'],
  [
    'chunks with a length',
    ok('transfer-encoding: chunked\r\n', `16\r\n${BODY}\r\n0\r\n\r\n`),
    'tls_port_invalid',
  ],
  [
    'lines without CR, and a control character',
    ok('x: \u0001\r\n').replaceAll('\r', ''),
    'control_plane_unreachable',
  ],
  ['a length twice', ok('content-length: 22\r\n'), 'tls_port_invalid'],
  ['two lengths in one line', ok().replace('22', '22 , 22\t'), 'tls_port_invalid'],
  ['two lengths', ok('content-length: 21\r\n'), 'control_plane_unreachable'],
  [
    'a length twice behind another answer, lines without CR',
    `HTTP/1.1 103 E\n\n${ok('content-length: 22\r\n').replaceAll('\r', '')}`,
    'tls_port_invalid',
  ],
  [
    'chunks with a length that is no number',
    `HTTP/1.1 200 OK\r\ncontent-length: x\r\ntransfer-encoding: chunked\r\n\r\n16\r\n${BODY}\r\n0\r\n\r\n`,
    'tls_port_invalid',
  ],
  ['spaces behind the size of a chunk', chunked(`16  \r\n${BODY}\r\n0\r\n\r\n`), 'tls_port_invalid'],
  [
    'a length behind the chunks',
    chunked(`16\r\n${BODY}\r\n0\r\ncontent-length: 3\r\n\r\n`),
    'tls_port_invalid',
  ],
  ['no size of a chunk', chunked(`zz\r\n${BODY}\r\n0\r\n\r\n`), 'share_lookup_unparsable'],
  ['more than the length says', `${ok()} more`, 'tls_port_invalid'],
  ['less than the length says', ok().replace('22', '23'), 'share_lookup_unparsable'],
  ['a control character in the status', ok('', BODY, 'HTTP/1.1 200 \u0001'), 'control_plane_unreachable'],
  ['spaces around the target', ok('', '{"target":" tls://x:y\\n"}'), 'tls_port_invalid'],
  ['much beside the target', ok('', `{"p":"${'x'.repeat(200_000)}",${BODY.slice(1)}`), 'tls_port_invalid'],
  ['nested 126 times', ok('', nested(126)), 'tls_port_invalid'],
  ['nested 127 times', ok('', nested(127)), 'share_lookup_unparsable'],
  ['a number out of range', ok('', `{"a":1e999,${BODY.slice(1)}`), 'share_lookup_unparsable'],
  ['half a character', ok('', `{"a":"\\ud800",${BODY.slice(1)}`), 'share_lookup_unparsable'],
];

interface Plane {
  readonly url: string;
  answer: string;
  /** The heads of the questions. */
  readonly heads: string[];
}

async function plane(t: Test): Promise<Plane> {
  const heads: string[] = [];
  const server = createServer((socket) => {
    let head = '';
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      head += chunk.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      heads.push(head);
      head = '';
      socket.end(self.answer, 'latin1');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const self = {
    url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`,
    answer: ok(),
    heads,
  };
  return self;
}

const bmux = realBmux();
const skip = bmux === undefined && 'real bmux not found';

/** A folder of a user who is signed in. */
async function signedIn(t: Test): Promise<string> {
  const dir = await ownFolder(t);
  await mkdir(join(dir, 'run'), { mode: 0o700 });
  await mkdir(join(dir, 'config'));
  await writeFile(join(dir, 'run', 'auth-state.json'), '{"access_token":"token-123"}');
  return dir;
}

async function ours(dir: string, url: string): Promise<string> {
  const given = inputs({
    target: 'bmux://demo',
    env: { BMUX_CONTROL_PLANE_URL: url },
    runtimeDir: join(dir, 'run'),
  });
  return (await failureOf(() => resolveTarget(given))).code;
}

async function theirs(program: string, dir: string, url: string): Promise<string> {
  const env = { ...enclosed(dir), BMUX_TARGET: 'bmux://demo', BMUX_CONTROL_PLANE_URL: url };
  const { stderr } = await runBmux(program, ['list-sessions'], env);
  return TEXTS.find(([text]) => stderr.includes(text))?.[1] ?? stderr;
}

t.test('answers', async (t) => {
  const server = await plane(t);
  const dir = await signedIn(t);
  for (const [name, answer, code] of ROWS) {
    server.answer = answer;
    t.equal(await ours(dir, server.url), code, name);
  }
  t.test('as the real bmux', { skip }, async (t) => {
    if (bmux === undefined) return;
    for (const [name, answer, code] of ROWS) {
      server.answer = answer;
      t.equal(await theirs(bmux, dir, server.url), code, name);
    }
  });
});

t.test('credentials in the URL are sent beside the token, as by the real bmux', async (t) => {
  const server = await plane(t);
  const dir = await signedIn(t);
  const rows: [user: string, sent: string[]][] = [
    ['', []],
    ['u:p@', ['u:p']],
    ['u@', ['u:']],
    [':p@', [':p']],
    ['u%20:p%40\u{e4}@', ['u :p@\u{e4}']],
  ];
  for (const [user, sent] of rows) {
    const url = server.url.replace('//', `//${user}`);
    const wanted = [
      ...sent.map((text) => `Basic ${Buffer.from(text).toString('base64')}`),
      'Bearer token-123',
    ];
    const asked = (): string[] =>
      [...(server.heads.at(-1) ?? '').matchAll(/^authorization: (.*)\r$/gim)].map(([, value = '']) => value);
    t.equal(await ours(dir, url), 'tls_port_invalid');
    t.strictSame(asked(), wanted, `ours with ${user}`);
    t.match(server.heads.at(-1), /^GET \/v1\/share-links\/demo HTTP/, 'they are not in the path');
    if (bmux === undefined) continue;
    t.equal(await theirs(bmux, dir, url), 'tls_port_invalid');
    t.strictSame(asked(), wanted, `bmux with ${user}`);
  }
});

t.test('port 0 is no port', async (t) => {
  const dir = await signedIn(t);
  const env = { BMUX_CONTROL_PLANE_URL: 'http://127.0.0.1:0' };
  const given = inputs({ target: 'bmux://demo', env, runtimeDir: join(dir, 'run') });
  const { code, causes } = await failureOf(() => resolveTarget(given));
  t.match([code, causes], ['control_plane_unreachable', [/port 0/]]);
});
