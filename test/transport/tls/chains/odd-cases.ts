// Chains whose certificates are unusual in one part: numbers, names, extensions, times, order.
import { encoded as der } from '../../../../daemon/transport/tls/certificates/der.ts';
import { CA, leaf, middle, root } from './further-cases.ts';
import { ecKeys, extension, issue, oid, rsaKeys, sequence, type Certificate, type Issued } from './issue.ts';

type Add = (name: string, chain: readonly Issued[], anchors: readonly Issued[], serverName?: string) => void;

const bytes = (...all: readonly number[]): Buffer => Buffer.from(all);
const text = (tag: number, value: string): Buffer => der(tag, Buffer.from(value, 'latin1'));
const TRUE = bytes(0x01, 0x01, 0xff);
/** Object ids of extensions, 2.5.29.x. */
const ce = (last: number): Buffer => oid(0x55, 0x1d, last);
const names = (...all: readonly Buffer[]): Buffer => extension(ce(0x11), sequence(...all));
const dns = (value: string): Buffer => text(0x82, value);
const ip = (...all: readonly number[]): Buffer => der(0x87, bytes(...all));
const GATEWAY = dns('gateway.test');
const purposes = (...ids: readonly Buffer[]): Buffer => extension(ce(0x25), sequence(...ids));
const SERVER = oid(0x2b, 6, 1, 5, 5, 7, 3, 1);
const CLIENT = oid(0x2b, 6, 1, 5, 5, 7, 3, 2);
const ANY = oid(0x55, 0x1d, 0x25, 0);
const limits = (permitted: readonly Buffer[], excluded: readonly Buffer[] = [], critical = true): Buffer => {
  const trees = (tag: number, all: readonly Buffer[]): Buffer[] =>
    all.length === 0 ? [] : [der(tag, ...all.map((one) => sequence(one)))];
  return extension(ce(0x1e), sequence(...trees(0xa0, permitted), ...trees(0xa1, excluded)), critical);
};
const time = (tag: number, value: string): Buffer => text(tag, value);
const DAY = 86_400_000;
const utc = (days: number): string =>
  new Date(Date.now() + days * DAY)
    .toISOString()
    .replace(/[-:T]|\.\d+Z$/g, '')
    .slice(2);

/** `r` is a root. */
export function addOdd(add: Add, r: Issued): void {
  const bare = (more: Partial<Certificate>): Issued => issue({ subject: 'gateway', ...more }, r);
  const leaves: Readonly<Record<string, Partial<Certificate>>> = {
    'serial number 0': { serialDer: bytes(2, 1, 0) },
    'a negative serial number': { serialDer: bytes(2, 1, 0x85) },
    'a serial number of 21 bytes': { serialDer: der(2, bytes(0x40), Buffer.alloc(20, 7)) },
    'a serial number of 40 bytes': { serialDer: der(2, bytes(0x40), Buffer.alloc(39, 7)) },
    'version 2': { versionDer: bytes(2, 1, 1) },
    'version 4': { versionDer: bytes(2, 1, 3) },
    'an empty subject': { subjectDer: sequence() },
    'a subject of a teletex string': {
      subjectDer: sequence(der(0x31, sequence(oid(0x55, 4, 3), der(0x14, bytes(0xe4))))),
    },
    'two extensions of one kind': {
      more: [extension(oid(0x2a, 3, 4), bytes(5, 0)), extension(oid(0x2a, 3, 4), bytes(5, 0))],
    },
    'a path length': { ca: false, pathLength: 0 },
    'basic constraints that are not critical': { more: [extension(ce(0x13), sequence())] },
    'TRUE as one': { more: [sequence(oid(0x2a, 3, 4), bytes(1, 1, 1), der(4, bytes(5, 0)))] },
    'FALSE written out': { more: [sequence(oid(0x2a, 3, 4), bytes(1, 1, 0), der(4, bytes(5, 0)))] },
    'key agreement only': { keyUsage: 0x08 },
    'every key usage': { more: [extension(ce(0x0f), bytes(3, 3, 7, 0xff, 0x80), true)] },
    'no purpose at all': { more: [purposes()] },
    'any purpose': { more: [purposes(ANY)] },
    'any purpose and clients': { more: [purposes(ANY, CLIENT)] },
    'an unknown purpose': { more: [purposes(oid(0x2a, 3, 4, 5))] },
    'an unknown purpose and servers, critical': {
      more: [extension(ce(0x25), sequence(oid(0x2a, 3, 4, 5), SERVER), true)],
    },
    'name constraints': { more: [limits([dns('test')])] },
    'name constraints that exclude itself': { more: [limits([], [GATEWAY])] },
    'a critical key id': { more: [extension(ce(0x0e), der(4, bytes(1)), true)] },
    'a critical key id of the issuer': { more: [extension(ce(0x23), sequence(), true)] },
    'critical addresses of revocation lists': { more: [extension(ce(0x1f), sequence(), true)] },
    'addresses of revocation lists that are no list': { more: [extension(ce(0x1f), bytes(5, 0))] },
    'critical policy constraints': { more: [extension(ce(0x24), sequence(der(0x80, bytes(0))), true)] },
    'critical inhibition of any policy': { more: [extension(ce(0x36), bytes(2, 1, 0), true)] },
    'a critical address of its issuer': {
      more: [extension(oid(0x2b, 6, 1, 5, 5, 7, 1, 1), sequence(), true)],
    },
    'the poison of a precertificate': {
      more: [extension(oid(0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 3), bytes(5, 0), true)],
    },
    'OCSP must staple': { more: [extension(oid(0x2b, 6, 1, 5, 5, 7, 1, 24), sequence(bytes(2, 1, 5)))] },
    'critical alternative names of its issuer': { more: [extension(ce(0x12), sequence(GATEWAY), true)] },
    'times in UTC form': { validityDer: sequence(time(0x17, `${utc(-1)}Z`), time(0x17, `${utc(300)}Z`)) },
    'an end in 9999': { validityDer: sequence(time(0x17, `${utc(-1)}Z`), time(0x18, '99991231235959Z')) },
    'an end before its begin': { from: 5, until: -5 },
    'a begin in 1950': { validityDer: sequence(time(0x17, '500101000000Z'), time(0x18, '20500101000000Z')) },
    'a begin in 1969, general form': {
      validityDer: sequence(time(0x18, '19690101000000Z'), time(0x18, '20500101000000Z')),
    },
    'times without seconds': {
      validityDer: sequence(time(0x17, `${utc(-1).slice(0, 10)}Z`), time(0x17, `${utc(300).slice(0, 10)}Z`)),
    },
    'times with a zone': {
      validityDer: sequence(time(0x17, `${utc(-1)}+0000`), time(0x17, `${utc(300)}+0000`)),
    },
    'times with fractions': {
      validityDer: sequence(time(0x18, '20200101000000.5Z'), time(0x18, '20500101000000.5Z')),
    },
    'another algorithm outside': { outerAlgorithm: rsaKeys(2048).algorithm },
    'RSA 3072': { keys: rsaKeys(3072) },
  };
  for (const [what, more] of Object.entries(leaves)) {
    add(`leaf with ${what}`, [leaf(r, more)], [r]);
    // As an anchor, too: much of it is not looked at there.
    if (more.more === undefined && more.keys === undefined && more.subjectDer === undefined)
      add(`root with ${what}`, [l(r)], [root({ keys: r.keys, ...more })]);
  }
  for (const [what, all] of Object.entries({
    'no name in the list': [],
    'a name beside a URI': [text(0x86, 'urn:x'), GATEWAY],
    'a name beside a mail address': [text(0x81, 'a@b'), GATEWAY],
    'a name beside a mail address that is none': [text(0x81, 'nonsense'), GATEWAY],
    'a name beside another name': [der(0xa0, oid(0x2a, 3, 4), der(0xa0, text(0x0c, 'x'))), GATEWAY],
    'a name beside an object id': [der(0x88, bytes(0x2a, 3, 4)), GATEWAY],
    'a name beside an EDI party name': [der(0xa5, der(0xa1, text(0x0c, 'x'))), GATEWAY],
    'a name beside an X.400 address': [der(0xa3, sequence()), GATEWAY],
    'a name beside a name of an unknown kind': [der(0x89, bytes(1)), GATEWAY],
    'a name beside an empty name': [dns(''), GATEWAY],
    'a name beside one with a blank': [dns('a b'), GATEWAY],
    'a name beside one that is not ASCII': [dns('\xfc.test'), GATEWAY],
    'a name beside one with NUL': [dns('gateway.test\0.else'), GATEWAY],
    'only one with NUL': [dns('gateway.test\0.else')],
    'a name beside one that is too long': [dns('x'.repeat(300)), GATEWAY],
    'a name beside one that ends in a dot': [dns('else.test.'), GATEWAY],
    'a name beside an address of 5 bytes': [ip(1, 2, 3, 4, 5), GATEWAY],
    'a name beside an address of 0 bytes': [ip(), GATEWAY],
    'a leading dot': [dns('.test')],
    'a leading dot and its own name': [dns('.gateway.test')],
    'the URI of its name': [text(0x86, 'https://gateway.test')],
    'a wildcard with a trailing dot': [dns('*.test.')],
    'a double wildcard': [dns('*.*')],
    'a wildcard behind': [dns('gateway.*')],
    'a wildcard of a top level': [dns('*.test')],
    'a wildcard beside an exact name': [dns('*.else'), GATEWAY],
    'a hundred names': [...Array.from({ length: 100 }, (_, at) => dns(`n${String(at)}.test`)), GATEWAY],
    '3000 names': [...Array.from({ length: 3000 }, (_, at) => dns(`n${String(at)}.test`)), GATEWAY],
  }))
    add(`alternative names: ${what}`, [bare({ more: [names(...all)] })], [r]);
  add('alternative names twice', [bare({ more: [names(dns('else')), names(GATEWAY)] })], [r]);
  add('alternative names that are no list', [bare({ more: [extension(ce(0x11), bytes(5, 0))] })], [r]);
  add('critical alternative names', [bare({ more: [extension(ce(0x11), sequence(GATEWAY), true)] })], [r]);
  for (const [what, all, host] of [
    ['IPv4 as mapped', [ip(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1)], '127.0.0.1'],
    ['mapped asked for', [ip(127, 0, 0, 1)], '::ffff:127.0.0.1'],
    ['mapped as mapped', [ip(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1)], '::ffff:127.0.0.1'],
    ['a wildcard for an address', [dns('*.0.0.1')], '127.0.0.1'],
    ['with an underscore', [dns('a_b.test')], 'a_b.test'],
    ['wildcard over an underscore', [dns('*.test')], 'a_b.test'],
    ['with a hyphen first', [dns('-a.test')], '-a.test'],
    ['punycode', [dns('xn--bcher-kva.test')], 'xn--bcher-kva.test'],
    ['wildcard over punycode', [dns('*.test')], 'xn--bcher-kva.test'],
    ['of one label', [dns('gateway')], 'gateway'],
    ['of digits', [dns('123.test')], '123.test'],
    ['that ends in digits', [dns('a.123')], 'a.123'],
    ['asked for in upper case', [dns('gateway.test')], 'GATEWAY.TEST'],
    ['a wildcard, asked for with a dot', [dns('*.test')], 'gateway.test.'],
  ] as const)
    add(`name: ${what}`, [bare({ more: [names(...all)] })], [r], host);

  const under = (
    what: string,
    more: Partial<Certificate>,
    below: Partial<Certificate> = {},
    host?: string,
  ): void => {
    const m = middle(r, more);
    add(`middle with ${what}`, [leaf(m, below), m], [r], host);
    add(`root under ${what}`, [leaf(r, below)], [root({ keys: r.keys, ...more })], host);
  };
  const only = { names: ['gateway.test'] } as const;
  const net = (...all: readonly number[]): Buffer => ip(...all);
  for (const [what, limit, below, host] of [
    ['a permitted address', limits([net(127, 0, 0, 0, 255, 0, 0, 0)]), { names: ['127.0.0.1'] }, '127.0.0.1'],
    [
      'another permitted address',
      limits([net(10, 0, 0, 0, 255, 0, 0, 0)]),
      { names: ['127.0.0.1'] },
      '127.0.0.1',
    ],
    ['an address permitted, a DNS name used', limits([net(10, 0, 0, 0, 255, 0, 0, 0)]), only, undefined],
    [
      'an excluded address',
      limits([], [net(127, 0, 0, 0, 255, 0, 0, 0)]),
      { names: ['127.0.0.1'] },
      '127.0.0.1',
    ],
    [
      'all addresses excluded',
      limits([], [net(0, 0, 0, 0, 0, 0, 0, 0), net(...Array<number>(32).fill(0))]),
      only,
      undefined,
    ],
    ['a mask with holes', limits([net(127, 0, 0, 0, 255, 0, 255, 0)]), { names: ['127.0.0.1'] }, '127.0.0.1'],
    ['a network of 5 bytes', limits([net(127, 0, 0, 0, 255)]), { names: ['127.0.0.1'] }, '127.0.0.1'],
    ['a network of 5 bytes, a DNS name used', limits([net(127, 0, 0, 0, 255)]), only, undefined],
    ['an IPv6 network', limits([net(...Array<number>(32).fill(0))]), { names: ['::1'] }, '::1'],
    ['constraints that are not critical', limits([dns('else')], [], false), only, undefined],
    ['constraints without any tree', limits([]), only, undefined],
    ['a permitted name with a leading dot', limits([dns('.test')]), only, undefined],
    ['itself permitted with a leading dot', limits([dns('.gateway.test')]), only, undefined],
    ['an excluded name with a leading dot', limits([], [dns('.test')]), only, undefined],
    ['a permitted name in other case', limits([dns('TEST')]), only, undefined],
    ['an empty permitted name', limits([dns('')]), only, undefined],
    ['an empty excluded name', limits([], [dns('')]), only, undefined],
    ['a permitted name that ends alike', limits([dns('est')]), only, undefined],
    ['a permitted name with a dot behind', limits([dns('test.')]), only, undefined],
    ['a permitted wildcard', limits([dns('*.test')]), only, undefined],
    ['an excluded URI', limits([], [text(0x86, 'else')]), only, undefined],
    ['a permitted URI', limits([text(0x86, 'test')]), only, undefined],
    ['an excluded directory name', limits([], [der(0xa4, sequence())]), only, undefined],
    ['an excluded object id', limits([], [der(0x88, bytes(0x2a, 3))]), only, undefined],
    ['permitted and excluded', limits([dns('test')], [GATEWAY]), only, undefined],
    ['a wildcard below a permitted name', limits([dns('test')]), { names: ['*.test'] }, undefined],
    ['a wildcard beside a permitted name', limits([dns('gateway.test')]), { names: ['*.test'] }, undefined],
    [
      'another name of the leaf outside',
      limits([dns('gateway.test')]),
      { names: ['gateway.test', 'else'] },
      undefined,
    ],
  ] as const)
    under(what, { more: [limit] }, below, host);
  for (const [what, more] of Object.entries<Partial<Certificate>>({
    'any purpose': { more: [purposes(ANY)] },
    'no purpose at all': { more: [purposes()] },
    'servers and clients': { more: [purposes(CLIENT, SERVER)] },
    'basic constraints that are not critical': {
      ca: undefined as never,
      more: [extension(ce(0x13), sequence(TRUE))],
    },
    'a negative path length': {
      ca: undefined as never,
      more: [extension(ce(0x13), sequence(TRUE, bytes(2, 1, 0xff)), true)],
    },
    'a path length of 300': {
      ca: undefined as never,
      more: [extension(ce(0x13), sequence(TRUE, bytes(2, 2, 1, 44)), true)],
    },
    'CA:TRUE as one': { ca: undefined as never, more: [extension(ce(0x13), sequence(bytes(1, 1, 1)), true)] },
    'CA:FALSE written out': {
      ca: undefined as never,
      more: [extension(ce(0x13), sequence(bytes(1, 1, 0)), true)],
    },
    'no key usage': { keyUsage: undefined as never },
    'an unknown critical extension': { unknown: 'critical' },
    'serial number 0': { serialDer: bytes(2, 1, 0) },
    'version 2': { versionDer: bytes(2, 1, 1) },
    'two extensions of one kind': {
      more: [extension(oid(0x2a, 3, 4), bytes(5, 0)), extension(oid(0x2a, 3, 4), bytes(5, 0))],
    },
    'RSA 1024': { keys: rsaKeys(1024) },
    'P-521': { keys: ecKeys('P-521') },
    'SHA-1': { keys: rsaKeys(2048, 'sha1') },
    'critical policy constraints': { more: [extension(ce(0x24), sequence(der(0x80, bytes(0))), true)] },
  })) {
    const m = middle(r, more);
    add(`a middle with ${what}`, [leaf(m), m], [r]);
  }
  const m = middle(r);
  add('the leaf twice', [l(r), l(r)], [r]);
  const one = leaf(m);
  add('the whole chain twice', [one, m, one, m], [r]);
  add('the middle ten times', [one, ...Array<Issued>(10).fill(m)], [r]);
  add(
    'two middles of two roots, an expired root one of them',
    [one, m],
    [root({ keys: r.keys, from: -9, until: -5 }), root()],
  );
  const [a, b] = [ecKeys(), ecKeys()];
  const [ab, ba] = [
    issue({ subject: 'B', keys: b, ...CA }, { subject: 'A', keys: a }),
    issue({ subject: 'A', keys: a, ...CA }, { subject: 'B', keys: b }),
  ];
  add('two CAs that have signed each other', [leaf(ab), ab, ba], [r]);
  const rooted = issue({ subject: 'A', keys: a, ...CA }, r);
  add('two CAs that have signed each other, and a way out', [leaf(ab), ab, ba, rooted], [r]);
}

const l = (by: Issued): Issued => leaf(by);
