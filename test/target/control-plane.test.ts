// Tests the lookup of share links against a real HTTP server: the request, where the token is sent, and every error.
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { HttpClient } from '../../daemon/target/http/client.ts';
import { resolveTarget, type ResolveInputs } from '../../daemon/target/resolve.ts';
import { fail } from '../../daemon/errors/fail.ts';
import type { ResolvedTarget } from '../../daemon/engine-protocol/plan.ts';
import { failureOf } from '../policy/failure-of.ts';
import { config, http, inputs, ownFolder } from './sample.ts';

interface Server {
  readonly url: string;
  readonly requests: IncomingMessage[];
}

async function serve(t: Test, answer: RequestListener): Promise<Server> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    answer(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`, requests };
}

/** Inputs for `bmux://demo` (or `name`) of a user who is signed in with `token`. */
async function signedIn(
  t: Test,
  url: string,
  parts: Partial<ResolveInputs> = {},
  token = 'token-123',
): Promise<ResolveInputs> {
  const runtimeDir = await ownFolder(t);
  await writeFile(
    join(runtimeDir, 'auth-state.json'),
    JSON.stringify({ access_token: token, account_id: 1 }),
  );
  return inputs({ target: 'bmux://demo', env: { BMUX_CONTROL_PLANE_URL: url }, runtimeDir, ...parts });
}

const json =
  (value: unknown, status = 200): RequestListener =>
  (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  };

t.test('the question and the answer', async (t) => {
  const { url, requests } = await serve(t, json({ target: 'iroh://remote-endpoint' }));
  const resolved: ResolvedTarget = await resolveTarget(await signedIn(t, url));
  t.equal(resolved.label, 'iroh://remote-endpoint');
  t.has(requests[0], { method: 'GET', url: '/v1/share-links/demo' });
  t.equal(requests[0]?.headers.authorization, 'Bearer token-123');
});

t.test('which control plane, and how the name is written in its URL', async (t) => {
  const { url, requests } = await serve(t, json({ target: 'tls://gw' }));
  const byConfig = config({ controlPlaneUrl: `${url}/config` });
  const rows: [name: string, env: string | undefined, path: string][] = [
    ['demo', undefined, '/config/v1/share-links/demo'],
    ['demo', ' ', '/config/v1/share-links/demo'],
    ['demo', `${url}/env`, '/env/v1/share-links/demo'],
    ['demo', `${url}/env/`, '/env/v1/share-links/demo'],
    ['demo', `${url}/env//`, '/env//v1/share-links/demo'],
    ['a/../b?c#d e', url, '/v1/share-links/a%2F..%2Fb%3Fc%23d%20e'],
    ['ü%2e', url, '/v1/share-links/%C3%BC%252e'],
    ['\ud800', url, '/v1/share-links/%EF%BF%BD'],
  ];
  for (const [name, variable, path] of rows) {
    const env = variable === undefined ? {} : { BMUX_CONTROL_PLANE_URL: variable };
    await resolveTarget(await signedIn(t, url, { target: `bmux://${name}`, env, config: byConfig }));
    t.equal(requests.at(-1)?.url, path, name);
    t.equal(requests.at(-1)?.headers.authorization, 'Bearer token-123');
  }
  const asked = requests.length;
  for (const name of ['', '.', '..']) {
    const given = await signedIn(t, url, { target: `bmux://${name}` });
    t.equal((await failureOf(() => resolveTarget(given))).code, 'share_link_unknown');
  }
  t.equal(requests.length, asked, 'a name that is a step of the path is never asked for');
});

t.test('when the control plane is not asked', async (t) => {
  const { url, requests } = await serve(t, json({ target: 'tls://gw' }));
  const links = config({ shareLinks: { demo: 'tls://here', far: 'bmux://demo2' } });
  t.equal((await resolveTarget(await signedIn(t, url, { config: links }))).label, 'tls://here');
  const second = await signedIn(t, url, { config: links, target: 'bmux://far' });
  t.equal((await failureOf(() => resolveTarget(second))).code, 'share_link_unknown', 'one step only');
  await resolveTarget(await signedIn(t, url, { target: 'tls://x' }));
  const signedOut = inputs({ target: 'bmux://demo', env: { BMUX_CONTROL_PLANE_URL: url } });
  t.equal((await failureOf(() => resolveTarget(signedOut))).code, 'share_link_unknown', 'not signed in');
  t.equal(requests.length, 0);
});

t.test('answers without a target leave the link unknown; others are used as they are', async (t) => {
  const unknown: [answer: RequestListener, why: RegExp][] = [
    [
      json({ target: 'tls://gw' }, 401),
      /answered 401: it does not accept the access token; run `bmux auth login`/,
    ],
    [json({ target: 'tls://gw' }, 403), /answered 403: this account may not use the link/],
    [json({ target: 'tls://gw' }, 404), /answered 404: it knows no such link/],
    [json({ target: 'tls://gw' }, 407), /answered 407: the proxy demands credentials/],
    [json({ target: 'tls://gw' }, 429), /answered 429: it was asked too often/],
    [json({ target: 'tls://gw' }, 500), /answered 500: it failed or is overloaded/],
    [json({ target: 'tls://gw' }, 302), /answered 302: it did not answer the question/],
    [json({ other: 1 }), /answered without a target/],
    [json({ target: 5 }), /answered without a target/],
    [json(null), /answered without a target/],
    [json(['target']), /answered without a target/],
  ];
  for (const [answer, why] of unknown) {
    const { url } = await serve(t, answer);
    const failure = await failureOf(() => signedIn(t, url).then(resolveTarget));
    t.equal(failure.detail, `share link not found: bmux://demo; run 'bmux share' or 'bmux hosts'`);
    t.match(failure.causes, [why]);
    t.match(failure.warnings, [why]);
  }
  const itself = await serve(t, json({ target: 'bmux://demo' }));
  const { code, causes } = await failureOf(() => signedIn(t, itself.url).then(resolveTarget));
  t.strictSame([code, causes], ['share_link_unknown', []]);
  const { url } = await serve(t, json({ target: 'bmux://mine' }));
  const settings = config({
    shareLinks: { mine: 'prod' },
    targets: { prod: { transport: 'tls', host: 'gw' } },
  });
  t.equal((await resolveTarget(await signedIn(t, url, { config: settings }))).label, 'prod');
});

t.test('answers that cannot be understood', async (t) => {
  const rows: [name: string, answer: RequestListener][] = [
    ['HTML', (_, response) => void response.end('<html>')],
    ['nothing', (_, response) => void response.end()],
    ['huge', (_, response) => void response.end(JSON.stringify({ target: 'x'.repeat(1_100_000) }))],
    ['endless', (_, response) => endless(response)],
    [
      'broken off',
      (_, response) => {
        response.writeHead(200, { 'content-length': '100' });
        response.write('{"target":', () => response.destroy());
      },
    ],
    ['no UTF-8', (_, response) => response.end(Buffer.from('{"target":"\xff"}', 'latin1'))],
  ];
  for (const [name, answer] of rows) {
    const { url } = await serve(t, answer);
    const given = await signedIn(t, url);
    t.hasStrict(
      await failureOf(() => resolveTarget(given)),
      { code: 'share_lookup_unparsable', detail: 'failed parsing share lookup response' },
      name,
    );
  }

  function endless(response: ServerResponse): void {
    const more = (): void => {
      while (!response.destroyed && response.write('['.repeat(8192)));
    };
    response.on('drain', more);
    more();
  }
});

t.test('no answer', async (t) => {
  const silent = await serve(t, () => undefined);
  const slow = await serve(t, (_, response) => {
    response.writeHead(200).write('{"target"');
  });
  const closing = await serve(t, (request) => request.socket.destroy());
  const refused = await serve(t, () => undefined);
  await new Promise<void>((done) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      Object.assign(refused, { url: `http://127.0.0.1:${String((probe.address() as AddressInfo).port)}` });
      probe.close(() => done());
    });
  });
  const rows: [name: string, url: string, timeoutMs: number, cause: RegExp][] = [
    ['silent', silent.url, 100, /no answer within 100 ms/],
    ['slow body', slow.url, 100, /no answer within 100 ms/],
    ['closed', closing.url, 5000, /./],
    ['refused', refused.url, 5000, /ECONNREFUSED/],
    ['no URL', 'nonsense', 5000, /Invalid URL/],
    ['not HTTP', 'ftp://127.0.0.1', 5000, /./],
  ];
  for (const [name, url, timeoutMs, cause] of rows) {
    const given = await signedIn(t, url, { lookup: { timeoutMs, get: http.get } });
    const failure = await failureOf(() => resolveTarget(given));
    t.hasStrict(failure, { code: 'control_plane_unreachable', detail: `failed contacting ${url}` }, name);
    t.match(failure.causes.join('\n'), cause, name);
  }
  const proxied = new HttpClient({ env: { HTTP_PROXY: silent.url } });
  t.teardown(() => proxied.close());
  const late = await signedIn(t, 'http://plane.invalid', { lookup: { timeoutMs: 100, get: proxied.get } });
  const why = `no answer within 100 ms; asked through the proxy ${silent.url}`;
  t.same((await failureOf(() => resolveTarget(late))).causes, [why]);
  const withPassword = await signedIn(t, refused.url.replace('//', '//me:secret@'));
  t.equal((await failureOf(() => resolveTarget(withPassword))).detail, `failed contacting ${refused.url}`);
});

t.test('the end of the request ends the lookup', async (t) => {
  const abort = new AbortController();
  let closed: Promise<unknown> = Promise.resolve();
  const { url } = await serve(t, (request) => {
    closed = once(request.socket, 'close');
    abort.abort(fail('stopping'));
  });
  const given = await signedIn(t, url, {
    lookup: { timeoutMs: 60_000, get: http.get, signal: abort.signal },
  });
  t.equal((await failureOf(() => resolveTarget(given))).code, 'stopping');
  await closed;
});

t.test('redirects: followed, bounded, and no other origin sees the token', async (t) => {
  const other = await serve(t, (request, response) => {
    if (request.url === '/back') response.writeHead(302, { location: `${home.url}/v1/here` }).end();
    else json({ target: 'tls://gw' })(request, response);
  });
  const to = new Map<string, string>();
  const home: Server = await serve(t, (request, response) => {
    const location = to.get(request.url ?? '');
    if (location === undefined) json({ target: 'tls://gw' })(request, response);
    else response.writeHead(307, { location }).end('moved');
  });
  const resolve = async (first: string): Promise<ResolvedTarget> => {
    to.set('/v1/share-links/demo', first);
    home.requests.length = 0;
    other.requests.length = 0;
    return resolveTarget(await signedIn(t, home.url));
  };
  const tokens = ({ requests }: Server) => requests.map(({ headers }) => headers.authorization);
  t.equal((await resolve('/v1/here')).label, 'tls://gw');
  t.same(tokens(home), ['Bearer token-123', 'Bearer token-123'], 'the same origin');
  const referers = home.requests.map(({ headers }) => headers.referer);
  t.same(referers, [undefined, `${home.url}/v1/share-links/demo`], 'where the redirect came from');
  t.equal((await resolve(`${other.url}/x`)).label, 'tls://gw');
  t.same(tokens(other), [undefined], 'another port is another origin');
  t.equal((await resolve(`${other.url}/back`)).label, 'tls://gw');
  t.same(tokens(home), ['Bearer token-123', undefined], 'nor does it come back with the token');
  t.equal((await resolve(home.url.replace('127.0.0.1', 'localhost'))).label, 'tls://gw');
  t.same(tokens(home), ['Bearer token-123', undefined], 'another name is another origin');
  to.set('/loop', '/loop');
  const failure = await failureOf(() => resolve('/loop'));
  t.equal(failure.code, 'control_plane_unreachable');
  t.match(failure.causes[0], /more than 10 redirects/);
  t.equal(home.requests.length, 11);
  t.match((await failureOf(() => resolve('ftp://127.0.0.1/x'))).causes, [/not HTTP/]);
  for (const to of ['http://[', 'file:///etc/passwd']) {
    const nowhere = await failureOf(() => resolve(to));
    t.match(nowhere, { code: 'share_link_unknown' }, 'a redirect to nowhere is the answer');
  }
});
