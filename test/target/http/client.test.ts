// Tests daemon/target/http/client.ts and tunnel.ts against raw sockets: what is sent, over which way, and how often.
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { HttpClient } from '../../../daemon/target/http/client.ts';
import { aHostilePeerGetsFewAttempts } from './properties.ts';
import { answerOk, certificate, letThrough, peer, type Peer } from './rig.ts';

type Env = Record<string, string>;

function clientOf(t: Test, env: Env = {}): HttpClient {
  const client = new HttpClient({ env, verified: (_host, connect) => connect({ ca: certificate.certPem }) });
  t.teardown(() => client.close());
  return client;
}

async function peerOf(t: Test, ...args: Parameters<typeof peer>): Promise<Peer> {
  const made = await peer(...args);
  t.teardown(() => made.close());
  return made;
}

async function textOf(client: HttpClient, url: string): Promise<string> {
  const signal = AbortSignal.timeout(60_000);
  const answer = await client.get(new URL(url), { accept: 'x/y' }, signal);
  return `${String(answer.status)} ${await answer.text(1000)}`;
}

const GOOD = '200 {"target":"tls://gw"}';
const hangUp = (socket: Socket): void => void socket.destroy();

t.test('without a proxy, with and without TLS, connections are kept', async (t) => {
  for (const tls of [false, true]) {
    const server = await peerOf(t, answerOk, { tls });
    const client = clientOf(t);
    const origin = `${tls ? 'https' : 'http'}://localhost:${String(server.port)}`;
    for (const path of ['/a?b', '/c']) t.equal(await textOf(client, `${origin}${path}`), GOOD);
    t.match(server.heads[0], /^GET \/a\?b HTTP\/1\.1\r\naccept: x\/y\r\nhost: localhost:\d+/);
    t.equal(server.connections.size, 1);
  }
});

t.test('a certificate that is not trusted is refused', async (t) => {
  const server = await peerOf(t, answerOk, { tls: true });
  const proxy = await peerOf(t, letThrough);
  for (const env of [{}, { HTTPS_PROXY: `127.0.0.1:${String(proxy.port)}` }]) {
    const client = new HttpClient({ env });
    t.teardown(() => client.close());
    await t.rejects(textOf(client, `https://127.0.0.1:${String(server.port)}/`), /self-signed/);
  }
  t.strictSame([server.heads.length, proxy.heads.length], [0, 1]);
});

t.test('an http URL is sent to the proxy whole, a https URL through a tunnel', async (t) => {
  const server = await peerOf(t, answerOk, { tls: true });
  for (const tls of [false, true]) {
    const proxy = await peerOf(
      t,
      (socket, head) => {
        if (head.startsWith('CONNECT')) letThrough(socket, head);
        else answerOk(socket);
      },
      { tls },
    );
    const client = clientOf(t, {
      ALL_PROXY: `${tls ? 'https' : 'http'}://me:p%40@127.0.0.1:${String(proxy.port)}`,
    });
    for (let i = 0; i < 2; i += 1) t.equal(await textOf(client, 'http://plane.invalid:6000/x?y'), GOOD);
    t.match(proxy.heads[0], /^GET http:\/\/plane\.invalid:6000\/x\?y HTTP\/1\.1\r\n/);
    t.match(proxy.heads[0], /\r\nhost: plane\.invalid:6000\r\n/);
    t.match(proxy.heads[0], /\r\nproxy-authorization: Basic bWU6cEA=(\r\n|$)/);
    t.equal(proxy.connections.size, 1, 'the connection to the proxy is kept');
    proxy.heads.splice(0);
    server.heads.splice(0);
    const url = `https://127.0.0.1:${String(server.port)}/z`;
    for (let i = 0; i < 2; i += 1) t.equal(await textOf(client, url), GOOD);
    t.strictSame(proxy.heads.length, 1, 'the tunnel is kept');
    t.match(proxy.heads[0], /^CONNECT 127\.0\.0\.1:\d+ HTTP\/1\.1\r\nHost: 127\.0\.0\.1:\d+\r\n/);
    t.match(proxy.heads[0], /\r\nProxy-Authorization: Basic bWU6cEA=$/);
    t.match(server.heads, [/^GET \/z /, /^GET \/z /]);
    t.notMatch(server.heads.join(), /proxy-auth/i);
  }
});

t.test(
  'a kept connection that the server has closed costs one further try, any other failure none',
  async (t) => {
    const once = await peerOf(
      t,
      (socket, _, count) => void (count > 1 ? socket.resetAndDestroy() : answerOk(socket)),
    );
    const client = clientOf(t);
    const url = `http://127.0.0.1:${String(once.port)}/`;
    for (let i = 0; i < 4; i += 1) t.equal(await textOf(client, url), GOOD);
    t.equal(once.heads.length, 6, 'two where a kept connection was used');

    const silent = await peerOf(t, (socket, _, count) => void (count > 1 || answerOk(socket)));
    for (let i = 0; i < 2; i += 1)
      t.equal(await textOf(client, `http://127.0.0.1:${String(silent.port)}/`), GOOD);
    t.equal(silent.heads.length, 3, 'one that is silent, too');

    // The body comes long after the head, when the silent request has been ended.
    const body = GOOD.slice('200 '.length);
    const slow = await peerOf(t, (socket, _, count) => {
      if (count > 1) return;
      if (slow.heads.length < 3) return answerOk(socket);
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${String(body.length)}\r\n\r\n`);
      setTimeout(() => socket.write(body), 200);
    });
    for (let i = 0; i < 2; i += 1)
      t.equal(await textOf(client, `http://127.0.0.1:${String(slow.port)}/`), GOOD);
    t.equal(slow.heads.length, 3);

    const late = 'HTTP/1.1 408 Late\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';
    const ended = await peerOf(
      t,
      (socket, _, count) => void (count > 1 ? socket.end(late) : answerOk(socket)),
    );
    for (let i = 0; i < 2; i += 1)
      t.equal(await textOf(client, `http://127.0.0.1:${String(ended.port)}/`), GOOD);
    t.equal(ended.heads.length, 3, 'one that the server has given up, too');

    let isGone = false;
    const gone = await peerOf(t, (socket) => (isGone ? hangUp : answerOk)(socket));
    t.equal(await textOf(client, `http://127.0.0.1:${String(gone.port)}/`), GOOD);
    isGone = true;
    await t.rejects(textOf(client, `http://127.0.0.1:${String(gone.port)}/`), /socket hang up/);
    t.equal(gone.heads.length, 3, 'the second try is the last one');
    await t.rejects(textOf(client, `http://127.0.0.1:${String(gone.port)}/`), /socket hang up/);
    t.equal(gone.heads.length, 4, 'a new connection that fails is not tried again');

    const server = await peerOf(t, (socket, _, count) => (count > 1 ? hangUp : answerOk)(socket), {
      tls: true,
    });
    const proxy = await peerOf(t, letThrough);
    const tunnelled = clientOf(t, { HTTPS_PROXY: `127.0.0.1:${String(proxy.port)}` });
    for (let i = 0; i < 3; i += 1)
      t.equal(await textOf(tunnelled, `https://127.0.0.1:${String(server.port)}/`), GOOD);
    t.equal(proxy.heads.length, 3, 'one tunnel for each connection');
  },
);

t.test('a proxy that refuses the tunnel is asked once, and the error says what it did', async (t) => {
  const rows: [answer: string | undefined, error: RegExp][] = [
    [undefined, /the proxy hung up without an answer to CONNECT/],
    ['HTTP/1.1 403 Forbidden\r\n\r\n', /the proxy refused CONNECT to plane\.invalid:443 \(403\)/],
    ['HTTP/1.1 407 Who\r\n\r\n', /the proxy demands credentials \(407\)/],
    ['HTTP/1.1 502 Bad\r\nContent-Length: 5\r\n\r\nsorry', /refused CONNECT to plane\.invalid:443 \(502\)/],
    ['HTTP/1.1 407 Who\r\nContent-Length: 5\r\n\r\nsorry', /the proxy demands credentials \(407\)/],
    ['SSH-2.0-x\r\n\r\n', /something else than HTTP\/1; asked through the proxy http:\/\/127\.0\.0\.1:\d+$/],
    ['HTTP/1.1 200 OK\r\n\r\nhello', /the proxy sent data before the tunnel was used/],
    [`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(9000)}`, /a head that does not end/],
    ['HTTP/1.1 200 OK\r\n\r\n', /socket disconnected before secure TLS|closed in the TLS handshake/],
  ];
  for (const [answer, error] of rows) {
    const proxy = await peerOf(
      t,
      (socket) => void (answer === undefined ? socket.end() : socket.end(answer)),
    );
    const client = clientOf(t, { HTTPS_PROXY: `127.0.0.1:${String(proxy.port)}` });
    await t.rejects(textOf(client, 'https://plane.invalid/'), error);
    t.equal(proxy.heads.length, 1, String(error));
  }
  await t.rejects(
    textOf(clientOf(t, { ALL_PROXY: 'socks5://a:1' }), 'http://x/'),
    /the proxy scheme socks5 is not/,
  );
});

t.test('a proxy that speaks another protocol is not waited for', async (t) => {
  for (const greeting of ['SSH-2.0-x\r\n', '<html>', 'HTTP/2 200\r\n']) {
    const proxy = await peerOf(t, (socket) => void socket.write(greeting));
    const client = clientOf(t, { HTTPS_PROXY: `127.0.0.1:${String(proxy.port)}` });
    await t.rejects(textOf(client, 'https://plane.invalid/'), /something else than HTTP\/1/);
  }
});

t.test('an abort ends every step', async (t) => {
  const silent = (): void => undefined;
  const server = await peerOf(t, silent, { tls: true });
  const plain = await peerOf(t, silent);
  const body = await peerOf(
    t,
    (socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{'),
  );
  const proxy = await peerOf(t, letThrough);
  const through = (port: number): Env => ({ ALL_PROXY: `127.0.0.1:${String(port)}` });
  const rows: [url: string, env: Env, at: Peer][] = [
    [`http://127.0.0.1:${String(plain.port)}/`, {}, plain],
    [`http://127.0.0.1:${String(body.port)}/`, {}, body],
    [`https://127.0.0.1:${String(server.port)}/`, {}, server],
    [`https://127.0.0.1:${String(server.port)}/`, through(proxy.port), server],
    ['https://plane.invalid/', through(plain.port), plain],
    ['http://plane.invalid/', through(plain.port), plain],
  ];
  for (const [url, env, at] of rows) {
    at.heads.splice(0);
    const abort = new AbortController();
    const client = clientOf(t, env);
    const work = client.get(new URL(url), {}, abort.signal).then((answer) => answer.text(100));
    work.catch(() => undefined);
    while (at.heads.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    abort.abort(new Error('enough'));
    await t.rejects(work, /enough|abort/i, url);
    while (at.connections.size > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    t.equal(at.heads.length, 1, 'nothing is sent again');
  }
});

t.test('whatever server and proxy do, the attempts are few and the abort is the end', () =>
  aHostilePeerGetsFewAttempts(40),
);
