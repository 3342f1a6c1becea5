// The parts of a certificate that verification by bmux depends on, and that Node does not show: names as bytes, algorithms, extensions.
import { childrenOf, contentOf, elementAt, rawOf, TAGS, wholeElement, type Element } from './der.ts';

export interface CertificateParts {
  readonly version: number;
  /** Names as DER, one character a byte. bmux compares names byte by byte. */
  readonly issuer: string;
  readonly subject: string;
  readonly signatureAlgorithm: Buffer;
  readonly subjectName: Buffer;
  readonly publicKey: Buffer;
  /** Whole extensions by the hex of their object id. */
  readonly extensions: ReadonlyMap<string, Buffer>;
}

export const EXTENSIONS = { keyId: '551d0e', basicConstraints: '551d13', nameConstraints: '551d1e' } as const;

/** Reads a certificate. Throws when it is none, or when bytes follow it. */
export function certificateParts(der: Buffer): CertificateParts {
  const parts = childrenOf(der, wholeElement(der, TAGS.sequence));
  const [body, algorithm, signature] = parts;
  if (body?.tag !== TAGS.sequence || algorithm?.tag !== TAGS.sequence || signature?.tag !== TAGS.bits)
    throw new Error('not a certificate');
  const fields = childrenOf(der, body);
  const versioned = fields[0]?.tag === 0xa0;
  const [serial, , issuer, validity, subject, publicKey, ...more] = versioned ? fields.slice(1) : fields;
  if (
    serial?.tag !== TAGS.integer ||
    issuer?.tag !== TAGS.sequence ||
    validity?.tag !== TAGS.sequence ||
    subject?.tag !== TAGS.sequence ||
    publicKey?.tag !== TAGS.sequence
  )
    throw new Error('not a certificate');
  const version = versioned && fields[0] !== undefined ? (der[fields[0].end - 1] ?? 0) + 1 : 1;
  const list = more.find(({ tag }) => tag === 0xa3);
  return {
    version,
    issuer: rawOf(der, issuer).toString('latin1'),
    subject: rawOf(der, subject).toString('latin1'),
    signatureAlgorithm: rawOf(der, algorithm),
    subjectName: rawOf(der, subject),
    publicKey: rawOf(der, publicKey),
    extensions: list === undefined ? new Map() : extensionsOf(der, list),
  };
}

function extensionsOf(der: Buffer, list: Element): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const one of childrenOf(der, elementAt(der, list.body, list.end))) {
    const [id] = childrenOf(der, one);
    if (id?.tag !== TAGS.oid) throw new Error('an extension has no object id');
    found.set(contentOf(der, id).toString('hex'), rawOf(der, one));
  }
  return found;
}

/** Whether the basic constraints say CA:TRUE. */
export function isCa({ extensions }: CertificateParts): boolean {
  const extension = extensions.get(EXTENSIONS.basicConstraints);
  if (extension === undefined) return false;
  const octets = childrenOf(extension, wholeElement(extension, TAGS.sequence)).at(-1);
  if (octets?.tag !== TAGS.octets) return false;
  const [flag] = childrenOf(extension, elementAt(extension, octets.body, octets.end));
  return flag?.tag === 0x01 && extension[flag.body] !== 0;
}

const RSA_KEY = '2a864886f70d010101';
const EC_KEY = '2a8648ce3d0201';
const ED25519 = '2b6570';
const CURVES: ReadonlySet<string> = new Set(['2a8648ce3d030107', '2b81040022']);
const RSA_BITS = { min: 2048, max: 8192 } as const;

/** Object ids of the signatures that bmux verifies: ECDSA and RSA with SHA-2, RSA-PSS, Ed25519. */
const SIGNATURES: ReadonlySet<string> = new Set([
  '2a8648ce3d040302',
  '2a8648ce3d040303',
  ED25519,
  '2a864886f70d01010a',
  '2a864886f70d01010b',
  '2a864886f70d01010c',
  '2a864886f70d01010d',
]);

/** Whether bmux verifies signatures of this algorithm (an AlgorithmIdentifier). */
export function isKnownSignature(algorithm: Buffer): boolean {
  const [id] = childrenOf(algorithm, wholeElement(algorithm, TAGS.sequence));
  return id !== undefined && SIGNATURES.has(contentOf(algorithm, id).toString('hex'));
}

/** Whether bmux verifies signatures by this key (a SubjectPublicKeyInfo): P-256, P-384, Ed25519, or RSA of 2048 to 8192 bits. */
export function isKnownKey(publicKey: Buffer): boolean {
  const [algorithm, bits] = childrenOf(publicKey, wholeElement(publicKey, TAGS.sequence));
  if (algorithm === undefined || bits?.tag !== TAGS.bits) return false;
  const [id, parameter] = childrenOf(publicKey, algorithm);
  if (id === undefined) return false;
  switch (contentOf(publicKey, id).toString('hex')) {
    case ED25519:
      return true;
    case EC_KEY:
      return parameter !== undefined && CURVES.has(contentOf(publicKey, parameter).toString('hex'));
    case RSA_KEY: {
      const [modulus] = childrenOf(publicKey, elementAt(publicKey, bits.body + 1, bits.end));
      if (modulus === undefined) return false;
      const number = contentOf(publicKey, modulus);
      const leading = number.findIndex((byte) => byte !== 0);
      const top = number[leading];
      if (top === undefined) return false;
      const size = (number.length - leading - 1) * 8 + (32 - Math.clz32(top));
      return size >= RSA_BITS.min && size <= RSA_BITS.max;
    }
    default:
      return false;
  }
}
