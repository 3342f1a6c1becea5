// Tests what is removed from texts: credentials and values of queries in URLs, and tokens of logged objects at any depth.
import t from 'tap';
import { makeLogger } from '../../daemon/base/log.ts';
import { withoutCredentials } from '../../daemon/base/redact.ts';

t.test('credentials and unknown values of queries are hidden, and nothing else', (t) => {
  const encoded = encodeURIComponent('https://me:secret@relay/?token=secret');
  for (const [text, shown] of [
    ['tls://me:secret@host:1', 'tls://…@host:1'],
    ['tls://me:se@cret@host:1', 'tls://…@host:1'],
    ['tls://token@host:1', 'tls://…@host:1'],
    ['ssh://me:secret@host:22', 'ssh://…@host:22'],
    ['ssh://me@sec:ret@host:22', 'ssh://…@host:22'],
    ['ssh:me:secret@host:22', '…@host:22'],
    ['ssh:me@secret@host:22', '…@secret@host:22'],
    ["http://me:se&cr=e't@proxy", 'http://…@proxy'],
    ['http://me:se%2Fcret@proxy', 'http://…@proxy'],
    ['HTTPS_PROXY=me:secret@proxy', '…@proxy'],
    ['tls://host:1?token=secret', 'tls://host:1?token=…'],
    ['https://host/a?b&Access_Token=secret#c=secret', 'https://host/a?b&Access_Token=…#c=…'],
    [
      'iroh://ab?relay=https://me:secret@relay/&auth=ssh&k=secret',
      'iroh://ab?relay=https://…@relay/&auth=ssh&k=…',
    ],
    ['iroh://ab?auth=sshsecret', 'iroh://ab?auth=…'],
    [`iroh://ab?relay=${encoded}`, 'iroh://ab?relay=https%3A%2F%2F…%40relay%2F%3Ftoken%3D…'],
    ["'tls://host?token=secret', next", "'tls://host?token=…', next"],
    ['{"a":"tls://x?t=secret","b":"me@host"}', '{"a":"tls://x?t=…","b":"me@host"}'],
  ] as const)
    t.equal(withoutCredentials(text), shown);
  for (const text of [
    'iroh://ab?relay=https://relay/&addr=127.0.0.1:1&auth=ssh&compression=none',
    'the key a@b of me@host is not accepted',
    'set iroh_ssh_auth = true',
    'run command with --target ssh://me@host:22',
    'ssh:me@host:22 via gate /opt/bmux',
    '/run/user/1000/bmuxd/control.sock',
  ])
    t.equal(withoutCredentials(text), text);
  t.end();
});

t.test('a long text of a peer takes no long time', (t) => {
  const pieces = ['a', 'a:', '//', '%2F%2F', '%2F%2Fa', '?a', '&a=', 'a@', '//a@', 'ssh://a@'];
  for (const piece of pieces) {
    const text = `@=${piece.repeat(100_000)} `;
    const { user } = process.cpuUsage();
    withoutCredentials(text);
    t.ok(process.cpuUsage().user - user < 2_000_000, piece);
  }
  t.end();
});

t.test('tokens in logged objects are hidden', (t) => {
  let written = '';
  const sink = {
    write: (lines: string) => {
      written += lines;
    },
  };
  const log = makeLogger({ level: 'info', sink, process: 'control' });
  log.info(
    {
      access_token: 'secret-1',
      err: { deep: { authorization: ['secret-2', { a: 'secret-3' }] } },
      kept: 'yes',
    },
    'asked',
  );
  log.info({ kept: 'yes' }, 'the access_token is secret only where it is a field');
  t.notMatch(written, /secret-/);
  const [first, second] = written
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  t.match(first, {
    access_token: '[hidden]',
    err: { deep: { authorization: '[hidden]' } },
    kept: 'yes',
    msg: 'asked',
  });
  t.match(second, { kept: 'yes', msg: 'the access_token is secret only where it is a field' });
  t.end();
});
