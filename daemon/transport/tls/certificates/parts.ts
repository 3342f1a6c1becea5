// The parts of a certificate that verification by bmux depends on, and that Node does not show: names as bytes, algorithms, extensions.
import { childrenOf, contentOf, elementAt, encoded, rawOf, TAGS, wholeElement, type Element } from './der.ts';

export interface CertificateParts {
  readonly version: number;
  readonly serial: Buffer;
  /** Names as DER, one character a byte. bmux compares names byte by byte. */
  readonly issuer: string;
  readonly subject: string;
  readonly signatureAlgorithm: Buffer;
  readonly subjectName: Buffer;
  readonly publicKey: Buffer;
  /** Whole extensions by the hex of their object id. */
  readonly extensions: ReadonlyMap<string, Buffer>;
}

export const EXTENSIONS = {
  keyId: '551d0e',
  issuerKeyId: '551d23',
  keyUsage: '551d0f',
  names: '551d11',
  basicConstraints: '551d13',
  nameConstraints: '551d1e',
  revocationLists: '551d1f',
  purposes: '551d25',
} as const;

const KEY_IDS: ReadonlySet<string> = new Set([EXTENSIONS.keyId, EXTENSIONS.issuerKeyId]);
const KNOWN: ReadonlySet<string> = new Set(Object.values(EXTENSIONS).filter((id) => !KEY_IDS.has(id)));

/** The extensions that bmux knows. */
export const isKnownExtension = (id: string): boolean => KNOWN.has(id);

/** Reads a certificate. Throws when it is none, or when bytes follow it. */
export function certificateParts(der: Buffer): CertificateParts {
  const parts = childrenOf(der, wholeElement(der, TAGS.sequence));
  const [body, algorithm, signature] = parts;
  if (body?.tag !== TAGS.sequence || algorithm?.tag !== TAGS.sequence || signature?.tag !== TAGS.bits)
    throw new Error('not a certificate');
  const fields = childrenOf(der, body);
  const versioned = fields[0]?.tag === 0xa0;
  const [serial, inner, issuer, validity, subject, publicKey, ...more] = versioned ? fields.slice(1) : fields;
  if (
    serial?.tag !== TAGS.integer ||
    issuer?.tag !== TAGS.sequence ||
    validity?.tag !== TAGS.sequence ||
    subject?.tag !== TAGS.sequence ||
    publicKey?.tag !== TAGS.sequence
  )
    throw new Error('not a certificate');
  if (inner?.tag !== TAGS.sequence || !rawOf(der, inner).equals(rawOf(der, algorithm)))
    throw new Error('the algorithm of the signature is written in two ways');
  const version = versioned && fields[0] !== undefined ? (der[fields[0].end - 1] ?? 0) + 1 : 1;
  const list = more.find(({ tag }) => tag === 0xa3);
  return {
    version,
    serial: rawOf(der, serial),
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
    const key = contentOf(der, id).toString('hex');
    if (found.has(key) && KNOWN.has(key)) throw new Error('an extension is there twice');
    found.set(key, rawOf(der, one));
  }
  return found;
}

/** The content of an extension. Throws when it is none. */
export function valueOf(extension: Buffer): Buffer {
  const octets = childrenOf(extension, wholeElement(extension, TAGS.sequence)).at(-1);
  if (octets?.tag !== TAGS.octets) throw new Error('an extension has no value');
  return contentOf(extension, octets);
}

/** Whether a program that does not know the extension must refuse the certificate. */
export function isCritical(extension: Buffer): boolean {
  const flag = childrenOf(extension, wholeElement(extension, TAGS.sequence))[1];
  return flag?.tag === TAGS.boolean && extension[flag.body] !== 0;
}

/** The serial number by which a certificate names that of its issuer (DER), where it does and it can be read. bmux ignores it. */
export function issuerSerialOf(parts: CertificateParts): Buffer | undefined {
  const serial = issuerPartOf(parts, 0x82);
  return serial === undefined ? undefined : encoded(TAGS.integer, serial);
}

/** The key id by which a certificate names that of its issuer, where it does and it can be read. */
export function issuerKeyIdOf(parts: CertificateParts): Buffer | undefined {
  return issuerPartOf(parts, 0x80);
}

function issuerPartOf({ extensions }: CertificateParts, wanted: number): Buffer | undefined {
  const extension = extensions.get(EXTENSIONS.issuerKeyId);
  if (extension === undefined) return undefined;
  try {
    const value = valueOf(extension);
    const part = childrenOf(value, wholeElement(value, TAGS.sequence)).find(({ tag }) => tag === wanted);
    return part === undefined ? undefined : contentOf(value, part);
  } catch {
    return undefined;
  }
}

/** Whether the basic constraints say CA:TRUE; false when they cannot be read. */
export function isCa({ extensions }: CertificateParts): boolean {
  const extension = extensions.get(EXTENSIONS.basicConstraints);
  if (extension === undefined) return false;
  try {
    const value = valueOf(extension);
    const [flag] = childrenOf(value, wholeElement(value, TAGS.sequence));
    return flag?.tag === TAGS.boolean && value[flag.body] !== 0;
  } catch {
    return false;
  }
}

/** Whether the key usage lets the key sign certificates; true when there is none. */
export function maySign({ extensions }: CertificateParts): boolean {
  const extension = extensions.get(EXTENSIONS.keyUsage);
  if (extension === undefined) return true;
  const value = valueOf(extension);
  // The first byte of a bit string is the number of its unused bits.
  return ((contentOf(value, wholeElement(value, TAGS.bits))[1] ?? 0) & 0x04) !== 0;
}

const RSA_KEY = '06092a864886f70d0101010500';
const EC_KEYS: ReadonlyMap<string, number> = new Map([
  ['06072a8648ce3d020106082a8648ce3d030107', 65],
  ['06072a8648ce3d020106052b81040022', 97],
]);
const ED25519 = '06032b6570';
const RSA_SHA256 = '06092a864886f70d01010b0500';
const ECDSA_SHA256 = '06082a8648ce3d040302';
const UNCOMPRESSED = 0x04;
const RSA_BITS = { min: 2048, max: 8192 } as const;

/** RSA-PSS with the same hash twice, and a salt as long as the hash. */
const pss = (hash: string, salt: string): string =>
  `06092a864886f70d01010a3034a00f300d0609608648016503040${hash}0500a11c301a06092a864886f70d010108300d0609608648016503040${hash}0500a2030201${salt}`;

/** The signatures that bmux verifies, as the content of an AlgorithmIdentifier: ECDSA and RSA with SHA-2, RSA-PSS, Ed25519. */
const SIGNATURES: ReadonlySet<string> = new Set([
  ECDSA_SHA256,
  '06082a8648ce3d040303',
  ED25519,
  pss('201', '20'),
  pss('202', '30'),
  pss('203', '40'),
  ...['0b', '0c', '0d'].flatMap((last) => [`06092a864886f70d0101${last}0500`, `06092a864886f70d0101${last}`]),
]);

/** Whether bmux verifies signatures of this algorithm (an AlgorithmIdentifier). */
export function isKnownSignature(algorithm: Buffer): boolean {
  return SIGNATURES.has(contentOf(algorithm, wholeElement(algorithm, TAGS.sequence)).toString('hex'));
}

/** The algorithm (an AlgorithmIdentifier) of a signature that a key of this kind can make. */
export function signatureBy(publicKey: Buffer): Buffer {
  const [algorithm] = childrenOf(publicKey, wholeElement(publicKey, TAGS.sequence));
  const kind = algorithm === undefined ? '' : contentOf(publicKey, algorithm).toString('hex');
  const id = kind === RSA_KEY ? RSA_SHA256 : kind === ED25519 ? ED25519 : ECDSA_SHA256;
  return encoded(TAGS.sequence, Buffer.from(id, 'hex'));
}

/** Whether bmux verifies signatures by this key (a SubjectPublicKeyInfo): P-256, P-384, Ed25519, or RSA of 2048 to 8192 bits. */
export function isKnownKey(publicKey: Buffer): boolean {
  const [algorithm, bits] = childrenOf(publicKey, wholeElement(publicKey, TAGS.sequence));
  if (algorithm === undefined || bits?.tag !== TAGS.bits) return false;
  const kind = contentOf(publicKey, algorithm).toString('hex');
  if (kind === ED25519) return true;
  // The first byte of a bit string is the number of its unused bits.
  const point = EC_KEYS.get(kind);
  if (point !== undefined)
    return bits.end - bits.body - 1 === point && publicKey[bits.body + 1] === UNCOMPRESSED;
  if (kind !== RSA_KEY) return false;
  const [modulus] = childrenOf(publicKey, elementAt(publicKey, bits.body + 1, bits.end));
  if (modulus === undefined) return false;
  const number = contentOf(publicKey, modulus);
  const leading = number.findIndex((byte) => byte !== 0);
  const top = number[leading];
  if (top === undefined) return false;
  const size = (number.length - leading - 1) * 8 + (32 - Math.clz32(top));
  // bmux counts whole bytes for the minimum: 2041 bits are enough.
  return Math.ceil(size / 8) * 8 >= RSA_BITS.min && size <= RSA_BITS.max;
}
