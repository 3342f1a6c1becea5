// Chains of certificates, and files of roots, on which two programs may differ.
import { addDamaged, DAMAGED_REFUSED, DAMAGED_STRICTER } from './damaged-cases.ts';
import { addFurther, CA, leaf, middle, root } from './further-cases.ts';
import { addOdd } from './odd-cases.ts';
import { ODD_REFUSED } from './odd-refused.ts';
import { edKeys, ecKeys, issue, rsaKeys, type Issued } from './issue.ts';

export interface ChainCase {
  readonly name: string;
  /** What the gateway presents, its own certificate first. */
  readonly chain: readonly Issued[];
  /** The anchors of the CA file. */
  readonly anchors: readonly Issued[];
  readonly serverName?: string;
  /** What bmux says. bmuxd says the same, but for what is in `STRICTER`. */
  readonly accepted: boolean;
}

/** Cases that bmux accepts and OpenSSL does not, with the words of docs/targets.md. */
export const STRICTER: ReadonlyMap<string, string> = new Map([
  ['middle without keyCertSign', 'a chain with an intermediate CA whose key usage lacks keyCertSign'],
  [
    'leaf with keyCertSign only',
    'a gateway whose certificate has a key usage without digitalSignature, keyEncipherment and keyAgreement',
  ],
  [
    'leaf with the Netscape type of a client',
    'a gateway whose certificate has a Netscape type, and not that of a server',
  ],
  [
    'name constraints: the common name of a leaf without DNS names',
    'a gateway without DNS names, whose common name is not within the name constraints of its CA',
  ],
  [
    'middle by its own former key, without key ids',
    'a chain in which a CA has signed its own next key, in certificates without key ids',
  ],
  [
    'leaf that names another serial number of its middle',
    'a certificate that names the serial number of its issuer, an intermediate, and it has another',
  ],
  [
    'leaf that names another key id of its middle',
    'a certificate that names the key id of its issuer, an intermediate, and it has another',
  ],
  ...DAMAGED_STRICTER,
]);

/** What bmux refuses, by measurement (`compare.ts`). */
const REFUSED: ReadonlySet<string> = new Set([
  'leaf by another root of that name',
  'middle not sent',
  'leaf itself an anchor',
  'self-signed leaf with CA:TRUE an anchor',
  'leaf with CA:TRUE by root',
  'none of five roots of one name',
  'root name in another string type',
  'root name in other case',
  'middle with path length 0 above a middle',
  'middle with CA:FALSE',
  'middle without basic constraints',
  'expired middle',
  'middle for clients only',
  'middle with a broken signature',
  'expired leaf',
  'leaf not valid yet',
  'leaf for clients only',
  'leaf of version 1',
  'leaf without names',
  'leaf with a broken signature',
  'leaf with an unknown critical extension',
  'leaf of another name',
  'wildcard leaf',
  'wildcard over two labels',
  'wildcard within a label',
  'wildcard of everything',
  'IP address only as a DNS name',
  'name constraints of the middle: not permitted',
  'name constraints of the root: not permitted',
  'name constraints of the middle: excluded',
  'name constraints of the root: excluded',
  'root with P-521',
  'leaf with P-521',
  'root with RSA 1024',
  'leaf with RSA 1024',
  'root with RSA 2048 with SHA-1',
  'leaf with critical policies',
  'middle with critical policies',
  'leaf for an old purpose of servers',
  'middle for an old purpose of servers',
  'wildcard within a label of three',
  'name with a trailing dot in the certificate',
  'name constraints of the middle: a directory name',
  'name constraints of the root: a directory name',
  'name constraints of the middle: a mail address',
  'name constraints of the root: a mail address',
  'name constraints of the middle: excluded, under a wildcard',
  'RSA-PSS with a short salt',
  'root with a compressed key',
  'leaf with a compressed key',
  'the last of 120 roots of one name',
  '7 middles',
  '8 middles',
  ...['test', 'a.test'].flatMap((below) =>
    ['*.test', 'a b.a.test', 'a.test.'].map(
      (name) => `name constraints: a name beside '${name}' below '${below}'`,
    ),
  ),
  ...DAMAGED_REFUSED,
  ...ODD_REFUSED,
]);

/** All cases; their certificates are made by the call. */
export function chainCases(): readonly ChainCase[] {
  const cases: ChainCase[] = [];
  const add = (
    name: string,
    chain: readonly Issued[],
    anchors: readonly Issued[],
    serverName?: string,
  ): void => {
    const accepted = !REFUSED.has(name);
    cases.push({ name, chain, anchors, accepted, ...(serverName === undefined ? {} : { serverName }) });
  };
  const r = root();
  const other = root();
  const m = middle(r);
  const l = leaf(r);
  const ml = leaf(m);

  add('leaf by root', [l], [r]);
  add('leaf by root, root also sent', [l, r], [r]);
  add('leaf by another root of that name', [l], [other]);
  add('leaf by middle by root', [ml, m], [r]);
  add('middle not sent', [ml], [r]);
  add('middle not sent, but an anchor', [ml], [m]);
  add('middle sent and an anchor, root unknown', [ml, m], [m]);
  add('leaf itself an anchor', [l], [l]);
  add('self-signed leaf an anchor', ...self(leaf(undefined)));
  add('self-signed leaf with CA:TRUE an anchor', ...self(leaf(undefined, CA)));
  add('self-signed leaf with CA:FALSE an anchor', ...self(leaf(undefined, { ca: false })));
  add('leaf with CA:TRUE by root', [leaf(r, { ca: true })], [r]);
  add('unrelated certificate sent first after the leaf', [ml, issue({ subject: 'Else' }), m], [r]);
  add('chain in reverse order', [ml, r, m], [r]);

  for (const keyIds of [false, true]) {
    const [old, now] = [root({ keyIds }), root({ keyIds })];
    const by = leaf(now, { keyIds });
    const ids = keyIds ? 'with key ids' : 'without key ids';
    add(`old and new root of one name, ${ids}`, [by], [old, now]);
    add(`new and old root of one name, ${ids}`, [by], [now, old]);
    const mid = middle(now, { keyIds });
    add(`middle under old and new root, ${ids}`, [leaf(mid, { keyIds }), mid], [old, now]);
    add(`middle under new and old root, ${ids}`, [leaf(mid, { keyIds }), mid], [now, old]);
  }
  const five = [root(), root(), root(), root(), root()];
  const last = five[4];
  if (last !== undefined) add('the last of five roots of one name', [leaf(last)], five);
  add('none of five roots of one name', [leaf(root())], five);
  add('old middle an anchor, right middle sent, root an anchor', [ml, m], [middle(r), r]);
  add(
    'expired root and valid root of one name, same key',
    [l],
    [root({ keys: r.keys, from: -20, until: -10 }), r],
  );
  add('expired root of the same key alone', [l], [root({ keys: r.keys, from: -20, until: -10 })]);
  add('root not valid yet', [l], [root({ keys: r.keys, from: 10 })]);
  add('root with CA:FALSE', [l], [root({ keys: r.keys, ca: false })]);
  add('root without basic constraints', [l], [issue({ subject: 'Root', keys: r.keys })]);
  add('root of version 1', [l], [issue({ subject: 'Root', keys: r.keys, version1: true })]);
  add('root without keyCertSign', [l], [root({ keys: r.keys, keyUsage: 0x80 })]);
  add('root with path length 0, leaf below', [l], [root({ keys: r.keys, pathLength: 0 })]);
  add('root with path length 0, middle below', [ml, m], [root({ keys: r.keys, pathLength: 0 })]);
  add('root for client authentication only', [l], [root({ keys: r.keys, purposes: [2] })]);
  add('root with a broken signature', [l], [root({ keys: r.keys, badSignature: true })]);
  add('root with an unknown critical extension', [l], [root({ keys: r.keys, unknown: 'critical' })]);
  add('root name in another string type', [l], [root({ keys: r.keys, printable: true })]);
  add('root name in other case', [l], [root({ keys: r.keys, subject: 'ROOT' })]);

  const low = middle(r, { pathLength: 0 });
  const deep = issue({ subject: 'Deep', ...CA }, low);
  add('middle with path length 0 above a middle', [leaf(deep), deep, low], [r]);
  const noCa = middle(r, { ca: false });
  add('middle with CA:FALSE', [leaf(noCa), noCa], [r]);
  const noBasic = issue({ subject: 'Middle' }, r);
  add('middle without basic constraints', [leaf(noBasic), noBasic], [r]);
  const noSign = middle(r, { keyUsage: 0x80 });
  add('middle without keyCertSign', [leaf(noSign), noSign], [r]);
  const gone = middle(r, { from: -20, until: -10 });
  add('expired middle', [leaf(gone), gone], [r]);
  add('expired middle, valid one also sent', [leaf(gone), gone, middle(r, { keys: gone.keys })], [r]);
  const clientOnly = middle(r, { purposes: [2] });
  add('middle for clients only', [leaf(clientOnly), clientOnly], [r]);
  const bad = middle(r, { badSignature: true });
  add('middle with a broken signature', [leaf(bad), bad], [r]);
  add('middle with a broken signature an anchor', [leaf(bad), bad], [bad]);

  const stranger = issue({ subject: 'Stranger', ...CA });
  const crossed = middle(stranger, { keys: m.keys });
  add('cross-signed: by the root first', [ml, m, crossed], [r]);
  add('cross-signed: by a stranger first', [ml, crossed, m], [r]);
  add(
    'cross-signed root by a stranger sent',
    [l, issue({ subject: 'Root', ...CA, keys: r.keys }, stranger)],
    [r],
  );
  add('cross-signed, both anchors', [ml, crossed, m], [r, stranger]);

  add('expired leaf', [leaf(r, { from: -20, until: -10 })], [r]);
  add('leaf not valid yet', [leaf(r, { from: 10 })], [r]);
  add('leaf for clients only', [leaf(r, { purposes: [2] })], [r]);
  add('leaf for servers', [leaf(r, { purposes: [1] })], [r]);
  add('leaf for both', [leaf(r, { purposes: [2, 1] })], [r]);
  add('leaf with keyCertSign only', [leaf(r, { keyUsage: 0x04 })], [r]);
  add('leaf of version 1', [issue({ subject: 'gateway.test', version1: true }, r)], [r]);
  add('leaf without names', [issue({ subject: 'gateway.test' }, r)], [r]);
  add('leaf with a broken signature', [leaf(r, { badSignature: true })], [r]);
  add('leaf with an unknown critical extension', [leaf(r, { unknown: 'critical' })], [r]);
  add('leaf with an unknown extension', [leaf(r, { unknown: 'optional' })], [r]);
  add('leaf of another name', [leaf(r, { names: ['else.test'] })], [r]);
  add('wildcard leaf', [leaf(r, { names: ['*.test'] })], [r]);
  add('wildcard over two labels', [leaf(r, { names: ['*.test'] })], [r], 'a.b.test');
  add('wildcard within a label', [leaf(r, { names: ['gate*.test'] })], [r]);
  add('wildcard of everything', [leaf(r, { names: ['*'] })], [r], 'gateway');
  add('name in other case', [leaf(r, { names: ['GateWay.TEST'] })], [r]);
  add('name with a trailing dot', [l], [r], 'gateway.test.');
  add('IP address', [l], [r], '127.0.0.1');
  add('IPv6 address', [l], [r], '::1');
  add('IPv6 address, written long', [l], [r], '0:0:0:0:0:0:0:1');
  add('IP address only as a DNS name', [leaf(r, { names: ['gateway.test'] })], [r], '127.0.0.1');

  for (const [what, more] of [
    ['permitted', { permitted: ['test'] }],
    ['not permitted', { permitted: ['else'] }],
    ['excluded', { excluded: ['gateway.test'] }],
    ['excluded elsewhere', { excluded: ['else.test'] }],
  ] as const) {
    const named = middle(r, more);
    const dns = { names: ['gateway.test'] };
    add(`name constraints of the middle: ${what}`, [leaf(named, dns), named], [r]);
    add(`name constraints of the root: ${what}`, [leaf(r, dns)], [root({ keys: r.keys, ...more })]);
  }

  for (const [what, keys] of [
    ['P-384', ecKeys('P-384')],
    ['P-521', ecKeys('P-521')],
    ['Ed25519', edKeys()],
    ['RSA 2048', rsaKeys(2048)],
    ['RSA 1024', rsaKeys(1024)],
    ['RSA 2048 with SHA-1', rsaKeys(2048, 'sha1')],
  ] as const) {
    const by = root({ keys });
    add(`root with ${what}`, [leaf(by)], [by]);
    if (what !== 'RSA 2048 with SHA-1') add(`leaf with ${what}`, [leaf(r, { keys })], [r]);
  }

  addFurther(add, r);
  addDamaged(add, r);
  addOdd(add, r);

  let long: Issued = r;
  const line: Issued[] = [];
  for (let depth = 1; depth <= 8; depth += 1) {
    long = issue({ subject: `Middle ${String(depth)}`, ...CA }, long);
    line.unshift(long);
    if (depth >= 5) add(`${String(depth)} middles`, [leaf(long), ...line], [r]);
  }
  return cases;
}

const self = (one: Issued): [readonly Issued[], readonly Issued[]] => [[one], [one]];
