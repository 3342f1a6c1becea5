// Makes certificates of any form, also forms that tools refuse to make, so that verification can be compared between programs.
import { constants, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { encoded as der } from '../../../../daemon/transport/tls/certificates/der.ts';

/** A key pair with the DER of its algorithm in signatures. */
export interface Keys {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
  readonly hash: string | null;
  readonly algorithm: Buffer;
  /** Length of the salt of RSA-PSS. */
  readonly salt?: number;
}

/** What a certificate says. Everything but the subject has a usual value. */
export interface Certificate {
  readonly subject: string;
  /** String type of the subject's common name: UTF8String by default. */
  readonly printable?: boolean;
  readonly keys?: Keys;
  /** Days from now. */
  readonly from?: number;
  readonly until?: number;
  /** Absent: no basic constraints. */
  readonly ca?: boolean;
  readonly pathLength?: number;
  /** First byte of the bit string: 0x04 is keyCertSign, 0x80 digitalSignature. */
  readonly keyUsage?: number;
  /** Last number of the id-kp object ids: 1 server, 2 client. */
  readonly purposes?: readonly number[];
  readonly names?: readonly string[];
  /** Key ids of subject and issuer. */
  readonly keyIds?: boolean;
  readonly version1?: boolean;
  /** Writes the serial number with zeros before it. */
  readonly paddedSerial?: boolean;
  /** Permitted and excluded DNS names. */
  readonly permitted?: readonly string[];
  readonly excluded?: readonly string[];
  /** Names in DER, after `names`. */
  readonly derNames?: readonly Buffer[];
  /** Name constraints in DER. */
  readonly derPermitted?: readonly Buffer[];
  /** Extensions in DER. */
  readonly more?: readonly Buffer[];
  /** The key in DER, in another form than usual. */
  readonly publicKey?: Buffer;
  /** Another key id of the issuer than its own. */
  readonly strangeKeyId?: boolean;
  /** Names its issuer by name and serial number: its own ones, or others. */
  readonly issuerSerial?: 'right' | 'other';
  /** Parts of the certificate in DER that replace the usual ones. */
  readonly serialDer?: Buffer;
  readonly versionDer?: Buffer;
  readonly subjectDer?: Buffer;
  readonly validityDer?: Buffer;
  /** The algorithm outside of what is signed. */
  readonly outerAlgorithm?: Buffer;
  /** Adds an extension that nobody knows. */
  readonly unknown?: 'critical' | 'optional';
  /** Spoils the signature. */
  readonly badSignature?: boolean;
}

export interface Issued extends Certificate {
  readonly serial: Buffer;
  readonly keys: Keys;
  readonly der: Buffer;
  readonly pem: string;
}

export const oid = (...bytes: readonly number[]): Buffer => der(0x06, Buffer.from(bytes));
export const sequence = (...contents: readonly Buffer[]): Buffer => der(0x30, ...contents);
const ECDSA_SHA256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));
const ECDSA_SHA384 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03));
const ECDSA_SHA512 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04));
const NULL = der(0x05);
const RSA_SHA256 = sequence(oid(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b), NULL);
const RSA_SHA1 = sequence(oid(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05), NULL);
const ED25519 = sequence(oid(0x2b, 0x65, 0x70));

export const extension = (id: Buffer, value: Buffer, critical = false): Buffer =>
  sequence(id, ...(critical ? [der(0x01, Buffer.from([0xff]))] : []), der(0x04, value));

export function ecKeys(curve: 'P-256' | 'P-384' | 'P-521' = 'P-256'): Keys {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: curve });
  const [hash, algorithm] =
    curve === 'P-256'
      ? ['sha256', ECDSA_SHA256]
      : curve === 'P-384'
        ? ['sha384', ECDSA_SHA384]
        : ['sha512', ECDSA_SHA512];
  return { publicKey, privateKey, hash, algorithm };
}

export function edKeys(): Keys {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  return { publicKey, privateKey, hash: null, algorithm: ED25519 };
}

export function rsaKeys(modulusLength: number, hash: 'sha256' | 'sha1' = 'sha256'): Keys {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength });
  return { publicKey, privateKey, hash, algorithm: hash === 'sha1' ? RSA_SHA1 : RSA_SHA256 };
}

/** RSA-PSS with SHA-256. */
export function pssKeys(salt: number): Keys {
  const sha256 = sequence(oid(0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01), NULL);
  const mask = sequence(oid(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08), sha256);
  const length = der(0xa2, der(0x02, Buffer.from([salt])));
  const algorithm = sequence(
    oid(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a),
    sequence(der(0xa0, sha256), der(0xa1, mask), length),
  );
  return { ...rsaKeys(2048), algorithm, salt };
}

/** The public key with a point of which only one coordinate is written. */
export function compressed({ publicKey }: Keys): Buffer {
  const bytes = Buffer.from(publicKey.export({ type: 'spki', format: 'der' }));
  const point = bytes.subarray(-65);
  const short = Buffer.concat([Buffer.from([0, 2 + (point.readUInt8(64) & 1)]), point.subarray(1, 33)]);
  const algorithm = sequence(
    oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01),
    oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07),
  );
  return sequence(algorithm, der(0x03, short));
}

/** Critical policies: OpenSSL knows the extension, bmux does not. */
export const CRITICAL_POLICIES = extension(
  oid(0x55, 0x1d, 0x20),
  sequence(sequence(oid(0x55, 0x1d, 0x20, 0))),
  true,
);

/** An extended key usage that names an old purpose, which OpenSSL takes for that of a server. */
export const OLD_PURPOSE = extension(
  oid(0x55, 0x1d, 0x25),
  sequence(oid(0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x0a, 0x03, 0x03)),
);

/** The Netscape type of a client. */
export const CLIENT_TYPE = extension(
  oid(0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x42, 0x01, 0x01),
  der(0x03, Buffer.from([7, 0x80])),
);

/** Names for `derNames` and `derPermitted`. */
export const mailName = (text: string): Buffer => der(0x81, Buffer.from(text));
export const directoryName = (subject: string): Buffer => der(0xa4, nameOf({ subject }));

const time = (days: number): Buffer => {
  const date = new Date(Date.now() + days * 86_400_000);
  return der(0x18, Buffer.from(`${date.toISOString().replace(/[-:T]|\.\d+Z$/g, '')}Z`));
};

const nameOf = ({ subject, printable, subjectDer }: Omit<Certificate, 'keys'>): Buffer =>
  subjectDer ??
  sequence(
    der(0x31, sequence(oid(0x55, 0x04, 0x03), der(printable === true ? 0x13 : 0x0c, Buffer.from(subject)))),
  );

function ipBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail = ''] = address.split('::');
  const groups = (text: string): number[] => (text === '' ? [] : text.split(':').map((g) => parseInt(g, 16)));
  const [left, right] = [groups(head), groups(tail)];
  const all = [...left, ...Array<number>(8 - left.length - right.length).fill(0), ...right];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

const altName = (name: string): Buffer =>
  isIP(name) === 0 ? der(0x82, Buffer.from(name)) : der(0x87, ipBytes(name));

const keyId = ({ publicKey }: Keys): Buffer =>
  Buffer.from(publicKey.export({ type: 'spki', format: 'der' })).subarray(-20);

type Issuer = Pick<Issued, 'subject' | 'printable' | 'subjectDer' | 'keys'> & { readonly serial?: Buffer };

function extensions(what: Certificate, keys: Keys, by: Issuer): Buffer[] {
  const issuerKeys = by.keys;
  const all: Buffer[] = [];
  if (what.ca !== undefined) {
    const flag = what.ca ? [der(0x01, Buffer.from([0xff]))] : [];
    const length = what.pathLength === undefined ? [] : [der(0x02, Buffer.from([what.pathLength]))];
    all.push(extension(oid(0x55, 0x1d, 0x13), sequence(...flag, ...length), true));
  }
  if (what.keyUsage !== undefined)
    all.push(extension(oid(0x55, 0x1d, 0x0f), der(0x03, Buffer.from([0, what.keyUsage])), true));
  if (what.purposes !== undefined) {
    const ids = what.purposes.map((last) => oid(0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, last));
    all.push(extension(oid(0x55, 0x1d, 0x25), sequence(...ids)));
  }
  if (what.names !== undefined)
    all.push(
      extension(oid(0x55, 0x1d, 0x11), sequence(...what.names.map(altName), ...(what.derNames ?? []))),
    );
  if (what.keyIds === true) {
    all.push(extension(oid(0x55, 0x1d, 0x0e), der(0x04, keyId(keys))));
    all.push(extension(oid(0x55, 0x1d, 0x23), sequence(der(0x80, keyId(issuerKeys)))));
  }
  if (what.strangeKeyId === true)
    all.push(extension(oid(0x55, 0x1d, 0x23), sequence(der(0x80, Buffer.alloc(20, 7)))));
  if (what.issuerSerial !== undefined) {
    const serial = what.issuerSerial === 'right' ? (by.serial ?? Buffer.from([1])) : Buffer.from([9]);
    const name = der(0xa1, der(0xa4, nameOf(by)));
    all.push(extension(oid(0x55, 0x1d, 0x23), sequence(name, der(0x82, serial))));
  }
  if (what.derPermitted !== undefined) {
    const trees = what.derPermitted.map((name) => sequence(name));
    all.push(extension(oid(0x55, 0x1d, 0x1e), sequence(der(0xa0, ...trees)), true));
  }
  all.push(...(what.more ?? []));
  if (what.permitted !== undefined || what.excluded !== undefined) {
    const trees = (tag: number, names: readonly string[] = []): Buffer[] =>
      names.length === 0 ? [] : [der(tag, ...names.map((name) => sequence(der(0x82, Buffer.from(name)))))];
    const value = sequence(...trees(0xa0, what.permitted), ...trees(0xa1, what.excluded));
    all.push(extension(oid(0x55, 0x1d, 0x1e), value, true));
  }
  if (what.unknown !== undefined)
    all.push(extension(oid(0x2a, 0x03, 0x04, 0x05), NULL, what.unknown === 'critical'));
  return all;
}

/** Makes the certificate, signed by `issuer`, or by itself. */
export function issue(what: Certificate, issuer?: Issuer): Issued {
  const keys = what.keys ?? ecKeys();
  const by: Issuer = issuer ?? { ...what, keys };
  const serial = randomBytes(16);
  serial[0] = 0x40 | ((serial[0] ?? 0) & 0x3f); // positive, and no leading zero
  if (what.paddedSerial === true) serial.fill(0, 0, 4);
  const more = what.version1 === true ? [] : extensions(what, keys, by);
  const body = sequence(
    ...(what.version1 === true ? [] : [der(0xa0, what.versionDer ?? der(0x02, Buffer.from([2])))]),
    what.serialDer ?? der(0x02, serial),
    by.keys.algorithm,
    nameOf(by),
    what.validityDer ?? sequence(time(what.from ?? -1), time(what.until ?? 365)),
    nameOf(what),
    what.publicKey ?? Buffer.from(keys.publicKey.export({ type: 'spki', format: 'der' })),
    ...(more.length === 0 ? [] : [der(0xa3, sequence(...more))]),
  );
  const salted =
    by.keys.salt === undefined ? {} : { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: by.keys.salt };
  const signature = sign(by.keys.hash, body, { key: by.keys.privateKey, ...salted });
  if (what.badSignature === true)
    signature.writeUInt8(signature.readUInt8(signature.length - 1) ^ 1, signature.length - 1);
  const whole = sequence(
    body,
    what.outerAlgorithm ?? by.keys.algorithm,
    der(0x03, Buffer.from([0]), signature),
  );
  return { ...what, keys, serial, der: whole, pem: pemBlock(whole) };
}

export function pemBlock(bytes: Buffer, label = 'CERTIFICATE'): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n');
}
