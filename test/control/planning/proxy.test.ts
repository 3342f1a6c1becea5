// Tests daemon/control/planning/proxy-choice.ts and proxy-fetch.ts: which proxy is chosen, and that a request goes through it.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { proxyFor } from '../../../daemon/control/planning/proxy-choice.ts';
import { proxyFetch } from '../../../daemon/control/planning/proxy-fetch.ts';

const A = 'http://a:1';
const B = 'http://b:2';
const ROWS: readonly [url: string, env: Record<string, string>, proxy: string | undefined][] = [
  ['http://x/', {}, undefined],
  ['http://x/', { HTTP_PROXY: A }, A],
  ['http://x/', { http_proxy: A }, A],
  ['http://x/', { HTTP_PROXY: A, http_proxy: B }, A],
  ['http://x/', { HTTP_PROXY: '', http_proxy: B }, B],
  ['https://x/', { HTTP_PROXY: A }, undefined],
  ['https://x/', { HTTPS_PROXY: A, ALL_PROXY: B }, A],
  ['https://x/', { HTTP_PROXY: A, ALL_PROXY: B }, B],
  ['http://x/', { all_proxy: B }, B],
  ['http://x/', { ALL_PROXY: 'a:1' }, A],
  ['http://x/', { ALL_PROXY: 'http://' }, undefined],
  ['http://x/', { ALL_PROXY: A, NO_PROXY: '*' }, undefined],
  ['http://x.example.com/', { ALL_PROXY: A, NO_PROXY: 'y, example.com' }, undefined],
  ['http://x.example.com/', { ALL_PROXY: A, no_proxy: '.example.com' }, undefined],
  ['http://example.com/', { ALL_PROXY: A, NO_PROXY: '.EXAMPLE.com' }, undefined],
  ['http://notexample.com/', { ALL_PROXY: A, NO_PROXY: 'example.com' }, A],
  ['http://10.1.2.3/', { ALL_PROXY: A, NO_PROXY: '10.0.0.0/8' }, undefined],
  ['http://11.1.2.3/', { ALL_PROXY: A, NO_PROXY: '10.0.0.0/8,x/y,10.0.0.0/99' }, A],
  ['http://[::1]:80/', { ALL_PROXY: A, NO_PROXY: '::1' }, undefined],
  ['http://[::2]:80/', { ALL_PROXY: A, NO_PROXY: '::1,127.0.0.1' }, A],
];

t.test('the proxy of a URL', async (t) => {
  for (const [url, env, proxy] of ROWS)
    t.equal(proxyFor(new URL(url), env), proxy, `${url} ${JSON.stringify(env)}`);
});

t.test('a request goes through the proxy, except for hosts in NO_PROXY', async (t) => {
  const seen: string[] = [];
  const serve = async (answer: string): Promise<string> => {
    const server = createServer((request, response) => {
      seen.push(`${answer} ${request.url ?? ''}`);
      response.end(answer);
    });
    // The client may ask the proxy for a tunnel or send the request to it.
    server.on('connect', (request, socket) => {
      seen.push(`${answer} CONNECT ${request.url ?? ''}`);
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.once('data', () => {
        socket.end(
          `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${String(answer.length)}\r\n\r\n${answer}`,
        );
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => {
      server.close();
      server.closeAllConnections();
    });
    return `127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  };
  const [origin, proxy] = await Promise.all([serve('origin'), serve('proxy')]);
  const text = async (env: Record<string, string>): Promise<string> =>
    (await proxyFetch(env)(new URL(`http://${origin}/x`))).text();
  t.equal(await text({ ALL_PROXY: proxy }), 'proxy');
  t.equal(await text({ ALL_PROXY: proxy, NO_PROXY: '127.0.0.0/8' }), 'origin');
  t.equal(seen.length, 2);
});
