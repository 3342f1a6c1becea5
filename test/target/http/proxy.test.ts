// Tests daemon/target/http/proxy.ts: which proxy is chosen. Each row was tried with the real bmux.
import t from 'tap';
import { proxyFor } from '../../../daemon/target/http/proxy.ts';

const A = 'http://a:1/';
const B = 'http://b:2/';
const ROWS: readonly [url: string, env: Record<string, string>, proxy: string | undefined][] = [
  ['http://x/', {}, undefined],
  ['http://x/', { HTTP_PROXY: A }, A],
  ['http://x/', { http_proxy: A }, A],
  ['http://x/', { HTTP_PROXY: A, http_proxy: B }, A],
  ['http://x/', { HTTP_PROXY: '', http_proxy: B }, undefined],
  ['http://x/', { HTTP_PROXY: '', ALL_PROXY: B }, B],
  ['http://x/', { HTTP_PROXY: 'ftp://a:1', ALL_PROXY: B }, B],
  ['http://x/', { HTTP_PROXY: A, REQUEST_METHOD: '' }, undefined],
  ['https://x/', { HTTP_PROXY: A }, undefined],
  ['https://x/', { HTTPS_PROXY: A, ALL_PROXY: B }, A],
  ['https://x/', { HTTP_PROXY: A, ALL_PROXY: B }, B],
  ['http://x/', { all_proxy: B }, B],
  ['http://x/', { ALL_PROXY: 'a:1' }, A],
  ['http://x/', { ALL_PROXY: 'a:1/path' }, undefined],
  ['http://x/', { ALL_PROXY: 'http://a:1/path?q' }, A],
  ['http://x/', { ALL_PROXY: ' http://a:1' }, undefined],
  ['http://x/', { ALL_PROXY: 'http://' }, undefined],
  ['http://x/', { ALL_PROXY: 'http://%61:1' }, undefined],
  ['http://x/', { ALL_PROXY: 'http://u:p#q@a:1' }, 'http://u/'],
  ['http://x/', { ALL_PROXY: 'http://a:99999' }, 'http://a/'],
  ['http://x/', { ALL_PROXY: 'https://a:b' }, 'https://a/'],
  ['http://x/', { ALL_PROXY: 'http://a:+1' }, A],
  ['http://x/', { ALL_PROXY: 'http://[::1]:1' }, 'http://[::1]:1/'],
  ['http://x/', { ALL_PROXY: 'http:\\\\a:1' }, undefined],
  ['http://x/', { ALL_PROXY: 'http://u:^@a:1' }, undefined],
  ['http://x/', { ALL_PROXY: 'http://u@' }, undefined],
  ['http://x/', { ALL_PROXY: 'http://a:1/x y' }, undefined],
  ['http://x/', { ALL_PROXY: 'HTTPS://a:1' }, 'https://a:1/'],
  ['http://x/', { ALL_PROXY: 'socks5h://a:1' }, 'socks5h://a:1'],
  ['http://x/', { ALL_PROXY: A, NO_PROXY: '*' }, undefined],
  ['http://1.2.3.4/', { ALL_PROXY: A, NO_PROXY: '*' }, A],
  ['http://x/', { ALL_PROXY: A, NO_PROXY: '', no_proxy: 'x' }, A],
  ['http://x:80/', { ALL_PROXY: A, NO_PROXY: 'x:80' }, A],
  ['http://x.example.com/', { ALL_PROXY: A, NO_PROXY: 'y, example.com' }, undefined],
  ['http://x.example.com/', { ALL_PROXY: A, NO_PROXY: '*.example.com' }, A],
  ['http://x.example.com/', { ALL_PROXY: A, no_proxy: '.example.com' }, undefined],
  ['http://example.com/', { ALL_PROXY: A, NO_PROXY: '.EXAMPLE.com' }, undefined],
  ['http://notexample.com/', { ALL_PROXY: A, NO_PROXY: 'example.com' }, A],
  ['http://10.1.2.3/', { ALL_PROXY: A, NO_PROXY: '10.0.0.0/8' }, undefined],
  ['http://11.1.2.3/', { ALL_PROXY: A, NO_PROXY: '10.0.0.0/8,x/y,10.0.0.0/99' }, A],
  ['http://127.1.2.3/', { ALL_PROXY: A, NO_PROXY: '127.0.0.0/08' }, undefined],
  ['http://127.1.2.3/', { ALL_PROXY: A, NO_PROXY: '127.0.0.0/008' }, A],
  ['http://[::1]/', { ALL_PROXY: A, NO_PROXY: '::1/008' }, undefined],
  ['http://[::1]/', { ALL_PROXY: A, NO_PROXY: '::1/0128' }, A],
  ['http://[::1]:80/', { ALL_PROXY: A, NO_PROXY: '::1' }, undefined],
  ['http://[2001:db8::1]/', { ALL_PROXY: A, NO_PROXY: '2001::/17' }, undefined],
  ['http://[::2]:80/', { ALL_PROXY: A, NO_PROXY: '::1,127.0.0.1' }, A],
];

t.test('the proxy of a URL', async (t) => {
  for (const [url, env, proxy] of ROWS)
    t.equal(proxyFor(new URL(url), env)?.url.href, proxy, `${url} ${JSON.stringify(env)}`);
});

t.test('a proxy that cannot be reached is no reason to ask without one', async (t) => {
  // Node 26 takes the second one for a name, which nobody can look up.
  const refused = ['http://u:p@:1', 'http://xn--a.invalid:1'].filter((url) => !URL.canParse(url));
  t.match(refused, ['http://u:p@:1']);
  for (const proxy of refused)
    t.throws(() => proxyFor(new URL('http://x/'), { HTTP_PROXY: proxy }), /no valid host name/);
});

t.test('the credentials of a proxy', async (t) => {
  const rows: [userinfo: string, decoded: string | undefined][] = [
    ['', undefined],
    ['u@', 'u:'],
    ['u:p@', 'u:p'],
    ['u:p%40%zz:q@', 'u:p@%zz:q'],
    ['%c3%bc:@', '\u00fc:'],
  ];
  for (const [userinfo, decoded] of rows) {
    const { url, authorization } =
      proxyFor(new URL('http://x/'), { HTTP_PROXY: `http://${userinfo}a:1` }) ?? {};
    t.equal(url?.href, A);
    const sent = authorization?.replace(/^Basic /, '');
    t.equal(sent === undefined ? undefined : Buffer.from(sent, 'base64').toString(), decoded, userinfo);
  }
});
