// The formats of the transports: SSHSIG, agent lines, fingerprints, PEM, server names.
import fc from 'fast-check';
import { checkServerIdentity } from 'node:tls';
import t from 'tap';
import { pemSections, piecesOf, type Section } from '../../daemon/transport/tls/certificates/pem.ts';
import { isServerName, sniOf } from '../../daemon/transport/tls/server-name.ts';
import { parseChallenge } from '../../daemon/transport/ssh-auth/messages.ts';
import { anyLineGivesResultOrFailure } from './properties.ts';

const sections = (text: string | Iterable<string>): Section[] =>
  [...pemSections(text)].filter((one) => one !== undefined);
const certificatesIn = (text: string): Buffer[] =>
  sections(text).flatMap((one) => ('der' in one && one.label === 'CERTIFICATE' ? [one.der] : []));

const pem = (der: Uint8Array, eol: string): string => {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join(eol);
};

t.test('PEM: every certificate is found, whatever lies between', (t) => {
  const noise = fc.constantFrom(
    '',
    'Subject: CN = a\n',
    '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n',
  );
  const entry = fc.record({
    der: fc.uint8Array({ minLength: 1, maxLength: 300 }),
    noise,
    eol: fc.constantFrom('\n', '\r\n'),
  });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 5 }), (entries) => {
      const text = entries.map(({ der, noise, eol }) => noise + pem(der, eol)).join('');
      const found = certificatesIn(text);
      t.equal(found.length, entries.length);
      return entries.every(({ der }, i) => found[i]?.equals(Buffer.from(der)) === true);
    }),
  );
  fc.assert(
    fc.property(fc.string(), fc.nat(200), (text, cut) => {
      // Never throws.
      certificatesIn(pem(Buffer.from(text), '\n').slice(0, cut) + text);
    }),
  );
  const good = pem(Buffer.from('good'), '\n');
  const cut = good.slice(0, 35);
  for (const [text, problems] of [
    [`${cut}\n${good}`, ['the section CERTIFICATE has no end']],
    [good + cut, ['the section CERTIFICATE has no end']],
    [`-----BEGIN CERTIFICATE---\n${good}`, ['a BEGIN line is not valid']],
    [
      `-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n${good}`,
      ['the section CERTIFICATE is not valid base64'],
    ],
    [good.replaceAll('\n', ' \n'), []],
    [good.trimEnd(), []],
    [good.replace('==', ''), []],
    [good + good.replace('==', '='), ['the section CERTIFICATE is not valid base64']],
    [good.replace('E-----\n', 'E-----\n  '), []],
  ] as const) {
    t.strictSame(certificatesIn(text), [Buffer.from('good')], JSON.stringify(text));
    t.strictSame(
      sections(text).flatMap((one) => ('problem' in one ? [one.problem] : [])),
      problems,
    );
  }
  t.strictSame(certificatesIn(good.replaceAll(/^/gm, ' ')), [], 'lines that are indented begin no section');
  t.end();
});

t.test('server names are those of rustls', (t) => {
  for (const name of [
    'a',
    'localhost',
    'a.b',
    'a.b.',
    'a_b.c',
    '_x.y',
    '1a',
    '1.a',
    'xn--bcher-kva.de',
    '127.0.0.1',
    '::1',
  ]) {
    t.ok(isServerName(name), name);
  }
  const label = 'a'.repeat(63);
  for (const name of [
    '',
    '.',
    'a..b',
    '.a',
    '-a',
    'a-',
    'a b',
    'ä',
    '1',
    'a.1',
    '1.2.3',
    '[::1]',
    'a:1',
    'fe80::1%lo',
    'a..',
    `${label}a`,
  ]) {
    t.notOk(isServerName(name), name);
  }
  t.ok(isServerName(`${label}.${label}.${label}.${'a'.repeat(61)}`));
  t.notOk(isServerName(`${label}.${label}.${label}.${'a'.repeat(62)}`));
  t.same(['a.b.', '127.0.0.1', '::1'].map(sniOf), ['a.b', '', '']);
  fc.assert(
    fc.property(fc.string({ maxLength: 80 }), (name) => {
      if (!isServerName(name)) return;
      // Node must be able to check every accepted name without throwing.
      checkServerIdentity(name, { subject: {}, subjectaltname: 'DNS:x' } as never);
    }),
  );
  t.end();
});

t.test('lines of a host are checked, and only line_invalid comes out', (t) => {
  const challenge = {
    type: 'challenge',
    challenge: Array.from({ length: 32 }, (_, i) => i),
    allowed_fingerprints: ['a'],
  };
  t.same(parseChallenge(JSON.stringify(challenge)).allowedFingerprints, ['a']);
  for (const broken of [
    { ...challenge, challenge: challenge.challenge.slice(1) },
    { ...challenge, challenge: challenge.challenge.map((n) => n + 250) },
    { ...challenge, allowed_fingerprints: [1] },
    { ...challenge, type: 'result' },
    [],
  ]) {
    t.throws(() => parseChallenge(JSON.stringify(broken)), { code: 'line_invalid' });
  }
  anyLineGivesResultOrFailure(200);
  t.end();
});

t.test('PEM in pieces is PEM as a whole', (t) => {
  const filler = `${'text between sections, '.repeat(40)}\n`.repeat(100);
  const long = 'x'.repeat(300_000);
  const parts = [
    filler,
    pem(Buffer.alloc(900, 1), '\r\n'),
    long,
    '\n',
    pem(Buffer.alloc(400_000, 2), '\n'),
    filler,
  ];
  const text = [
    ...parts,
    '-----BEGIN CERTIFICATE-----\nAAAA\n',
    ...parts,
    pem(Buffer.from('end'), '\n').trim(),
  ].join('');
  const pieces = [...piecesOf(Buffer.from(text, 'latin1'))];
  t.ok(pieces.length > 5);
  t.equal(pieces.join(''), text);
  t.ok(pieces.slice(0, -1).every((piece) => piece.endsWith('\n')));
  t.strictSame(sections(pieces), sections(text));
  t.equal(sections(text).length, 6);
  t.end();
});
