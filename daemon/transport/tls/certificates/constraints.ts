// What webpki refuses in the extensions of a certificate and OpenSSL accepts. Nothing here accepts what OpenSSL has refused.
import { childrenOf, contentOf, wholeElement, TAGS } from './der.ts';
import { EXTENSIONS, isCritical, isKnownExtension, valueOf, type CertificateParts } from './parts.ts';

type Extensions = Pick<CertificateParts, 'extensions'>;

const SERVER = '2b06010505070301';

/** Tags of the kinds of names. */
const KINDS = { dns: 0x82, directory: 0xa4, ip: 0x87 } as const;

/** One name of a certificate, or one that a constraint permits or excludes. */
interface Name {
  readonly tag: number;
  readonly value: Buffer;
}

/** Whether bmux reads these basic constraints: a truth value of all bits or none, and a path length of one byte. */
function isStrict(basic: Buffer): boolean {
  return elementsOf(valueOf(basic)).every(({ tag, value }) =>
    tag === TAGS.boolean
      ? value.length === 1 && (value[0] === 0 || value[0] === 0xff)
      : value.length === 1 || (value.length === 2 && value[0] === 0),
  );
}

/** Why bmux refuses the certificate for its extensions. */
export function refusedExtension({ extensions }: Extensions): string | undefined {
  for (const [id, extension] of extensions)
    if (!isKnownExtension(id) && isCritical(extension))
      return `a critical extension is not supported (${dotted(id)})`;
  const basic = extensions.get(EXTENSIONS.basicConstraints);
  if (basic !== undefined && !isStrict(basic)) return 'its basic constraints are not written as DER demands';
  const purposes = extensions.get(EXTENSIONS.purposes);
  if (
    purposes === undefined ||
    elementsOf(valueOf(purposes)).some(({ value }) => value.toString('hex') === SERVER)
  )
    return undefined;
  return 'its extended key usage does not name the authentication of servers';
}

/** The DNS names of a certificate in lower case. */
export function dnsNamesOf(certificate: Extensions): string[] {
  return namesOf(certificate).flatMap(({ tag, value }) =>
    tag === KINDS.dns ? [value.toString('latin1').toLowerCase()] : [],
  );
}

/** Why bmux refuses one of the certificates below for the name constraints of a CA. */
export function refusedNames(
  constraints: Buffer | undefined,
  below: readonly Extensions[],
): string | undefined {
  if (constraints === undefined) return undefined;
  for (const { tag, value } of elementsOf(valueOf(constraints))) {
    const isExcluded = tag === 0xa1;
    for (const [limit] of treesIn(value)) {
      if (limit === undefined) continue;
      // The subject of each certificate is such a name, and bmux compares none of them.
      if (limit.tag === KINDS.directory) return 'name constraints for directory names are not supported';
      if (below.some((one) => namesOf(one).some((name) => isRefused(name, limit, isExcluded))))
        return 'a name constraint is not kept, or not supported';
    }
  }
  return undefined;
}

function isRefused(name: Name, limit: Name, isExcluded: boolean): boolean {
  if (name.tag !== limit.tag) return false;
  if (limit.tag === KINDS.ip) return limit.value.length === 2 * name.value.length && !isMask(limit.value);
  if (limit.tag !== KINDS.dns) return true;
  const [named, limited] = [textOf(name), textOf(limit)];
  // bmux refuses a name that it compares and cannot read.
  if (
    !isDnsName(named.replace(/^\*\.(?=[^.]*\.)/, '')) ||
    !(limited === '' || isDnsName(limited.replace(/^\./, '')))
  )
    return true;
  const [first, ...rest] = named.split('.');
  // The wildcard stands for the excluded name, too.
  const [, ...excluded] = limited.replace(/^\./, '').split('.');
  return isExcluded && first === '*' && excluded.join('.') === rest.join('.');
}

const textOf = ({ value }: Name): string => value.toString('latin1').toLowerCase();

/** Whether bmux reads the text as a DNS name without a dot at its end. One that ends in a number is read as an IPv4 address. */
export function isDnsName(text: string): boolean {
  const labels = text.split('.');
  const isWritten = labels.every((label) => /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(label));
  return isWritten && text.length <= 253 && !/^\d+$/.test(labels.at(-1) ?? '');
}

/** Whether the second half of the bytes is a mask of leading ones. */
function isMask(network: Buffer): boolean {
  const bits = [...network.subarray(network.length / 2)].map((byte) => byte.toString(2).padStart(8, '0'));
  return /^1*0*$/.test(bits.join(''));
}

function namesOf({ extensions }: Extensions): Name[] {
  const extension = extensions.get(EXTENSIONS.names);
  return extension === undefined ? [] : elementsOf(valueOf(extension));
}

/** The elements in the sequence that `bytes` are. */
function elementsOf(bytes: Buffer): Name[] {
  return childrenOf(bytes, wholeElement(bytes, TAGS.sequence)).map((one) => ({
    tag: one.tag,
    value: contentOf(bytes, one),
  }));
}

/** The subtrees of a list: each has a name first. */
function treesIn(list: Buffer): Name[][] {
  const whole = { tag: 0, start: 0, body: 0, end: list.length };
  return childrenOf(list, whole).map((tree) =>
    childrenOf(list, tree).map((one) => ({ tag: one.tag, value: contentOf(list, one) })),
  );
}

/** An object id as it is written: 2.5.29.32. */
function dotted(hex: string): string {
  const numbers: number[] = [];
  let number = 0;
  for (const byte of Buffer.from(hex, 'hex')) {
    number = number * 128 + (byte & 0x7f);
    if (byte < 0x80) {
      numbers.push(number);
      number = 0;
    }
  }
  const [both = 0, ...rest] = numbers;
  const root = Math.min(2, Math.floor(both / 40));
  return [root, both - root * 40, ...rest].join('.');
}
