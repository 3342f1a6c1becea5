// Extensions that cannot be read. bmux reads some of them in every certificate, and OpenSSL more.
import { leaf, middle, root } from './further-cases.ts';
import { extension, issue, oid, type Issued } from './issue.ts';

const IDS = {
  'the key usage': oid(0x55, 0x1d, 0x0f),
  'the key id': oid(0x55, 0x1d, 0x0e),
  'the issuer key id': oid(0x55, 0x1d, 0x23),
  'the Netscape type': oid(0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x42, 0x01, 0x01),
  'the alternative names': oid(0x55, 0x1d, 0x11),
  'the name constraints': oid(0x55, 0x1d, 0x1e),
  'the addresses of revocation lists': oid(0x55, 0x1d, 0x1f),
  'the extended key usage': oid(0x55, 0x1d, 0x25),
} as const;
const FORBIDDEN = [
  'the alternative names',
  'the name constraints',
  'the addresses of revocation lists',
  'the extended key usage',
] as const;

/** What bmux refuses, by measurement. */
export const DAMAGED_REFUSED: readonly string[] = [
  ...FORBIDDEN.flatMap((what) => ['root', 'middle'].map((where) => `${where}: ${what} damaged`)),
  'root: the name constraints damaged within',
  'middle: two alternative names',
  'middle: alternative names of no length',
];

/** What bmux accepts and OpenSSL does not, with the words of docs/targets.md. */
export const DAMAGED_STRICTER: readonly (readonly [string, string])[] = [
  ['leaf: the key usage damaged', 'a certificate whose key usage cannot be read'],
  ['leaf: the key id damaged', 'a certificate whose key id cannot be read'],
  ['middle: the issuer key id damaged', 'a certificate whose key id of its issuer cannot be read'],
  ['leaf: the Netscape type damaged', 'a certificate whose Netscape type cannot be read'],
  [
    'middle: the alternative names damaged within',
    'a certificate with alternative names of which one is cut off',
  ],
  ['leaf: the name constraints damaged within', 'a gateway with name constraints of which one is cut off'],
  [
    'leaf: the addresses of revocation lists damaged within',
    'a certificate with addresses of revocation lists of which one is cut off',
  ],
];

/** `r` is a root. */
export function addDamaged(
  add: (name: string, chain: readonly Issued[], anchors: readonly Issued[]) => void,
  r: Issued,
): void {
  const NULL = Buffer.from([5, 0]);
  const CUT = Buffer.from([0x30, 2, 0x82, 9]);
  const rootWith = (more: readonly Buffer[]): Issued =>
    issue({ subject: 'Root', ca: true, keys: r.keys, more });
  const addMiddle = (name: string, more: readonly Buffer[]): void => {
    const by = middle(r, { more });
    add(`middle: ${name}`, [leaf(by), by], [r]);
  };
  for (const [what, id] of Object.entries(IDS)) {
    const more = [extension(id, NULL)];
    add(`root: ${what} damaged`, [leaf(r)], [rootWith(more)]);
    if (FORBIDDEN.some((one) => one === what)) addMiddle(`${what} damaged`, more);
  }
  for (const what of ['the key usage', 'the key id', 'the Netscape type'] as const)
    add(`leaf: ${what} damaged`, [leaf(r, { more: [extension(IDS[what], NULL)] })], [r]);
  addMiddle('the issuer key id damaged', [extension(IDS['the issuer key id'], NULL)]);
  addMiddle('the alternative names damaged within', [extension(IDS['the alternative names'], CUT)]);
  for (const what of ['the name constraints', 'the addresses of revocation lists'] as const)
    add(`leaf: ${what} damaged within`, [leaf(r, { more: [extension(IDS[what], CUT)] })], [r]);
  const cut = rootWith([extension(IDS['the name constraints'], CUT)]);
  add('root: the name constraints damaged within', [leaf(r)], [cut]);
  add('a root with damaged name constraints beside a good one', [leaf(r)], [cut, r]);
  const twice = Buffer.from([0x30, 0, 0x30, 0]);
  addMiddle('two alternative names', [extension(IDS['the alternative names'], twice)]);
  const open = Buffer.from([0x30, 0x80, 0, 0]);
  addMiddle('alternative names of no length', [extension(IDS['the alternative names'], open)]);
  const good = root({ subject: 'Root', keys: r.keys });
  add('a good root beside one with damaged name constraints', [leaf(r)], [good, cut]);
}
