// Anchors as bmux understands them: a name, a key and name constraints. OpenSSL judges an anchor as a certificate: validity, purposes, path
// length. So it is given certificates that hold these three alone (docs/decisions/tls-trust.md).
import { createPublicKey, type KeyObject, type X509Certificate } from 'node:crypto';
import {
  certificateParts,
  EXTENSIONS,
  isCa,
  isKnownKey,
  signatureBy,
  valueOf,
  type CertificateParts,
} from './parts.ts';
import { damageForBmux, damageForOpenSsl } from './damage.ts';
import { contentOf, encoded, TAGS, wholeElement } from './der.ts';
import { pemOf } from './pem.ts';

const VERSION_3 = encoded(0xa0, encoded(TAGS.integer, Buffer.from([2])));
const ALWAYS = encoded(
  TAGS.sequence,
  encoded(0x18, Buffer.from('19700101000000Z')),
  encoded(0x18, Buffer.from('99991231235959Z')),
);
const CA_TRUE = encoded(
  TAGS.sequence,
  encoded(TAGS.oid, Buffer.from(EXTENSIONS.basicConstraints, 'hex')),
  encoded(0x01, Buffer.from([0xff])),
  encoded(TAGS.octets, encoded(TAGS.sequence, encoded(0x01, Buffer.from([0xff])))),
);
const ONE = encoded(TAGS.integer, Buffer.from([1]));
const NO_SIGNATURE = encoded(TAGS.bits, Buffer.from([0, 0]));

/** One trusted certificate. */
export class Anchor {
  readonly der: Buffer;
  /** The file or store that it came from. */
  readonly source: string;
  /** DER of the subject, one character a byte. */
  readonly subject: string;
  readonly publicKey: Buffer;
  readonly #parts: CertificateParts;
  #key: KeyObject | undefined;

  /** Throws when `der` is no certificate. */
  constructor(der: Buffer, source: string) {
    this.#parts = certificateParts(der);
    checkForm(this.#parts);
    this.der = der;
    this.source = source;
    this.subject = this.#parts.subject;
    this.publicKey = this.#parts.publicKey;
  }

  get keyId(): Buffer | undefined {
    const extension = readable(this.#parts.extensions.get(EXTENSIONS.keyId));
    if (extension === undefined) return undefined;
    const value = valueOf(extension);
    return contentOf(value, wholeElement(value, TAGS.octets));
  }

  /** The extension that limits the names of certificates below. */
  get nameConstraints(): Buffer | undefined {
    return this.#parts.extensions.get(EXTENSIONS.nameConstraints);
  }

  /** Why OpenSSL does not take this anchor. */
  get damage(): string | undefined {
    const { nameConstraints } = this;
    if (nameConstraints === undefined) return undefined;
    return damageForOpenSsl({ extensions: new Map([[EXTENSIONS.nameConstraints, nameConstraints]]) });
  }

  /** Whether the key of this anchor has signed `certificate`. */
  hasSigned(certificate: X509Certificate): boolean {
    try {
      this.#key ??= createPublicKey({ key: this.publicKey, format: 'der', type: 'spki' });
      return certificate.verify(this.#key);
    } catch {
      return false;
    }
  }

  /** False for a key with which bmux verifies nothing. */
  get isUsable(): boolean {
    return isKnownKey(this.publicKey);
  }

  /** True for a certificate that a gateway may present as its own: self-issued, and no CA. OpenSSL needs such an anchor as it is. */
  get mayBePresented(): boolean {
    return this.#parts.issuer === this.subject && !isCa(this.#parts);
  }

  /** PEM of the certificate itself. */
  get original(): string {
    return pemOf(this.der);
  }

  /** False when OpenSSL may prefer another anchor of this name for its key id. */
  get isLoose(): boolean {
    return !this.#parts.extensions.has(EXTENSIONS.keyId);
  }

  /**
   * PEM of name, key and name constraints. `withKeyId`: also the key id, by which OpenSSL chooses between anchors of one name. `serial`: another
   * serial number than its own, as a certificate below names it. bmux ignores both. OpenSSL does not verify the signature of an anchor, but takes a
   * certificate for self-signed only when its key may have made such a signature.
   */
  reduced(withKeyId: boolean, serial = isPlain(this.#parts.serial) ? this.#parts.serial : ONE): string {
    const { extensions, subjectName } = this.#parts;
    const signatureAlgorithm = signatureBy(this.publicKey);
    const kept = [extensions.get(EXTENSIONS.nameConstraints)];
    if (withKeyId) kept.push(readable(extensions.get(EXTENSIONS.keyId)));
    const more = kept.filter((one) => one !== undefined);
    const body = encoded(
      TAGS.sequence,
      VERSION_3,
      serial,
      signatureAlgorithm,
      subjectName,
      ALWAYS,
      subjectName,
      this.publicKey,
      encoded(0xa3, encoded(TAGS.sequence, CA_TRUE, ...more)),
    );
    return pemOf(encoded(TAGS.sequence, body, signatureAlgorithm, NO_SIGNATURE));
  }
}

/** Throws for what bmux refuses as an anchor, though it uses none of it. */
function checkForm(parts: CertificateParts): void {
  const { version, extensions } = parts;
  if (version !== 3 && (version !== 1 || extensions.size > 0))
    throw new Error(`its version is ${String(version)}`);
  const damage = damageForBmux(parts);
  if (damage !== undefined) throw new Error(damage);
}

/** Whether OpenSSL reads the number: it must have a byte, and none too many. */
function isPlain(number: Buffer): boolean {
  const [first, second] = contentOf(number, wholeElement(number, TAGS.integer));
  if (first === undefined || second === undefined) return first !== undefined;
  return first === 0 ? second > 0x7f : first !== 0xff || second < 0x80;
}

/** The key id, unless it is one with which OpenSSL would refuse the certificate. */
function readable(keyId: Buffer | undefined): Buffer | undefined {
  try {
    if (keyId !== undefined) wholeElement(valueOf(keyId), TAGS.octets);
    return keyId;
  } catch {
    return undefined;
  }
}

/** Anchors by their subject. */
export class AnchorIndex {
  readonly #bySubject = new Map<string, Anchor[]>();

  add(anchor: Anchor): void {
    const same = this.#bySubject.get(anchor.subject);
    if (same === undefined) this.#bySubject.set(anchor.subject, [anchor]);
    else same.push(anchor);
  }

  of(subject: string): readonly Anchor[] {
    return this.#bySubject.get(subject) ?? [];
  }
}
