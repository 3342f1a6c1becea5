// Anchors as bmux understands them: a name, a key and name constraints. OpenSSL judges an anchor as a certificate: validity, purposes, path
// length. So it is given certificates that hold these three alone (docs/decisions/tls-trust.md).
import { certificateParts, EXTENSIONS, isCa, isKnownKey, type CertificateParts } from './parts.ts';
import { encoded, TAGS } from './der.ts';
import { pemOf } from './pem.ts';

const VERSION_3 = encoded(0xa0, encoded(TAGS.integer, Buffer.from([2])));
const SERIAL = encoded(TAGS.integer, Buffer.from([1]));
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

  /** Throws when `der` is no certificate. */
  constructor(der: Buffer, source: string) {
    this.#parts = certificateParts(der);
    this.der = der;
    this.source = source;
    this.subject = this.#parts.subject;
    this.publicKey = this.#parts.publicKey;
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

  /**
   * PEM of name, key and name constraints. `withKeyId`: also the key id, by which OpenSSL chooses between anchors of one name; bmux ignores it.
   * OpenSSL does not verify the signature of an anchor.
   */
  reduced(withKeyId: boolean): string {
    const { extensions, signatureAlgorithm, subjectName } = this.#parts;
    const kept = [extensions.get(EXTENSIONS.nameConstraints)];
    if (withKeyId) kept.push(extensions.get(EXTENSIONS.keyId));
    const more = kept.filter((one) => one !== undefined);
    const body = encoded(
      TAGS.sequence,
      VERSION_3,
      SERIAL,
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
