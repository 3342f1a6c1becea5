// Chains that OpenSSL understands in another way than webpki: extensions, forms of keys and names, several certificates of one name.
import {
  CLIENT_TYPE,
  compressed,
  CRITICAL_POLICIES,
  directoryName,
  ecKeys,
  edKeys,
  issue,
  mailName,
  OLD_PURPOSE,
  pssKeys,
  rsaKeys,
  type Certificate,
  type Issued,
} from './issue.ts';

export const CA = { ca: true, keyUsage: 0x06 } as const;
const NAMES = { names: ['gateway.test', '127.0.0.1', '::1'] } as const;

export const root = (more: Partial<Certificate> = {}): Issued => issue({ subject: 'Root', ...CA, ...more });
export const middle = (by: Issued, more: Partial<Certificate> = {}): Issued =>
  issue({ subject: 'Middle', ...CA, ...more }, by);
export const leaf = (by: Issued | undefined, more: Partial<Certificate> = {}): Issued =>
  issue({ subject: 'gateway', ...NAMES, ...more }, by);

/** `r` is a root. */
export function addFurther(
  add: (name: string, chain: readonly Issued[], anchors: readonly Issued[], serverName?: string) => void,
  r: Issued,
): void {
  for (const [what, extension] of [
    ['with critical policies', CRITICAL_POLICIES],
    ['for an old purpose of servers', OLD_PURPOSE],
  ] as const) {
    add(`leaf ${what}`, [leaf(r, { more: [extension] })], [r]);
    const by = middle(r, { more: [extension] });
    add(`middle ${what}`, [leaf(by), by], [r]);
  }
  add('wildcard within a label of three', [leaf(r, { names: ['gate*.a.test'] })], [r], 'gateway.a.test');
  add('wildcard of three labels', [leaf(r, { names: ['*.A.test'] })], [r], 'Gateway.a.test');
  add('name with a trailing dot in the certificate', [leaf(r, { names: ['gateway.test.'] })], [r]);

  for (const [what, limits, names] of [
    ['a directory name', { derPermitted: [directoryName('gateway')] }, { names: ['gateway.test'] }],
    [
      'a mail address',
      { derPermitted: [mailName('test')] },
      { names: ['gateway.test'], derNames: [mailName('a@test')] },
    ],
  ] as const) {
    const by = middle(r, limits);
    add(`name constraints of the middle: ${what}`, [leaf(by, names), by], [r]);
    add(`name constraints of the root: ${what}`, [leaf(r, names)], [root({ keys: r.keys, ...limits })]);
  }
  const without = middle(r, { excluded: ['x.a.test'] });
  add(
    'name constraints of the middle: excluded, under a wildcard',
    [leaf(without, { names: ['*.a.test'] }), without],
    [r],
    'y.a.test',
  );

  const upper = issue({ subject: 'Upper', ...CA }, r);
  const [right, wrong] = [middle(upper), middle(upper)];
  add('two middles of one name under another, wrong one first', [leaf(right), wrong, right, upper], [r]);
  const m = middle(r);
  const many = (count: number, make: (at: number) => Issued): Issued[] =>
    Array.from({ length: count }, (_, at) => make(at));
  add('ten wrong middles of its name before the middle', [leaf(m), ...many(10, () => middle(r)), m], [r]);
  const unrelated = many(30, (at) => issue({ subject: `Else ${String(at)}` }));
  add('thirty unrelated certificates before the middle', [leaf(m), ...unrelated, m], [r]);
  add('the last of 70 roots of one name', [leaf(r)], [...many(69, () => root()), r]);
  add('the last of 120 roots of one name', [leaf(r)], [...many(119, () => root()), r]);
  add(
    'key id of the issuer is another',
    [leaf(r, { strangeKeyId: true })],
    [root({ keys: r.keys, keyIds: true })],
  );

  add('root with zeros before its serial number', [leaf(r)], [root({ keys: r.keys, paddedSerial: true })]);
  for (const issuerSerial of ['right', 'other'] as const) {
    add(`issuer named by ${issuerSerial} serial number`, [leaf(r, { issuerSerial })], [r]);
    const by = middle(r, { issuerSerial });
    add(`issuer of the middle named by ${issuerSerial} serial number`, [leaf(by), by], [root(), r]);
  }

  add('leaf with the Netscape type of a client', [leaf(r, { more: [CLIENT_TYPE] })], [r]);
  const named = middle(r, { permitted: ['test'] });
  add(
    'name constraints: the common name of a leaf without DNS names',
    [leaf(named, { subject: 'else.example', names: ['127.0.0.1'] }), named],
    [r],
    '127.0.0.1',
  );
  for (const keyIds of [true, false]) {
    const former = middle(r, { keyIds });
    const next = middle(former, { keyIds });
    const ids = keyIds ? 'with' : 'without';
    add(`middle by its own former key, ${ids} key ids`, [leaf(next, { keyIds }), next, former], [r]);
  }

  for (const [what, above, below] of [
    ['RSA under P-256', ecKeys(), rsaKeys(2048)],
    ['P-384 under RSA', rsaKeys(2048), ecKeys('P-384')],
    ['Ed25519 under RSA', rsaKeys(2048), edKeys()],
    ['P-256 under RSA with SHA-1', rsaKeys(2048, 'sha1'), ecKeys()],
    ['P-256 under P-521', ecKeys('P-521'), ecKeys()],
  ] as const) {
    const by = middle(root({ keys: above }), { keys: below });
    add(`middle an anchor: ${what}`, [leaf(by), by], [by]);
  }
  for (const permitted of ['test', 'a.test']) {
    const limited = middle(r, { permitted: [permitted] });
    for (const name of ['*.test', 'a b.a.test', 'a.test.'])
      add(
        `name constraints: a name beside '${name}' below '${permitted}'`,
        [leaf(limited, { names: ['x.a.test', name] }), limited],
        [r],
        'x.a.test',
      );
  }
  for (const [what, more] of [
    ['serial number', { issuerSerial: 'other' }],
    ['key id', { strangeKeyId: true }],
  ] as const) {
    const by = middle(r, { keyIds: true });
    add(`leaf that names another ${what} of its middle`, [leaf(by, more), by], [r]);
  }

  const [salted, unsalted] = [root({ keys: pssKeys(32) }), root({ keys: pssKeys(20) })];
  add('RSA-PSS', [leaf(salted)], [salted]);
  add('RSA-PSS with a short salt', [leaf(unsalted)], [unsalted]);
  const odd = root({ keys: rsaKeys(2047) });
  add('root with RSA 2047', [leaf(odd)], [odd]);
  const keys = ecKeys();
  const short = root({ keys, publicKey: compressed(keys) });
  add('root with a compressed key', [leaf(short)], [short]);
  add('leaf with a compressed key', [leaf(r, { keys, publicKey: compressed(keys) })], [r]);
}
