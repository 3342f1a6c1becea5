// Tells which extension of a certificate cannot be read: OpenSSL says of such a certificate only that it cannot be verified.
import { X509Certificate } from 'node:crypto';
import { textOf } from '../../../base/failure.ts';
import { childrenOf, TAGS, wholeElement, type Element } from './der.ts';
import { EXTENSIONS, valueOf, type CertificateParts } from './parts.ts';

type Extensions = Pick<CertificateParts, 'extensions'>;

interface Form {
  readonly id: string;
  readonly name: string;
  readonly tag: number;
}

/** The extensions whose form bmux reads in every certificate. */
const READ_BY_BMUX: readonly Form[] = [
  { id: EXTENSIONS.names, name: 'alternative names', tag: TAGS.sequence },
  { id: EXTENSIONS.basicConstraints, name: 'basic constraints', tag: TAGS.sequence },
  { id: EXTENSIONS.nameConstraints, name: 'name constraints', tag: TAGS.sequence },
  { id: EXTENSIONS.revocationLists, name: 'addresses of revocation lists', tag: TAGS.sequence },
  { id: EXTENSIONS.purposes, name: 'extended key usage', tag: TAGS.sequence },
];
/** Those that OpenSSL reads in every certificate. */
const READ_BY_OPENSSL: readonly Form[] = [
  ...READ_BY_BMUX,
  { id: EXTENSIONS.keyUsage, name: 'key usage', tag: TAGS.bits },
  { id: EXTENSIONS.keyId, name: 'key id', tag: TAGS.octets },
  { id: EXTENSIONS.issuerKeyId, name: 'issuer key id', tag: TAGS.sequence },
  { id: '6086480186f8420101', name: 'Netscape type', tag: TAGS.bits },
];
/** Elements within each other that are looked at. */
const DEPTH_MAX = 16;

/** The extension for which bmux refuses the certificate, wherever it is in a chain. */
export function damageForBmux({ extensions }: Extensions): string | undefined {
  return damageIn(extensions, READ_BY_BMUX, () => undefined);
}

/** The extension for which OpenSSL refuses the certificate. It reads all of the value. */
export function damageForOpenSsl({ extensions }: Extensions): string | undefined {
  return damageIn(extensions, READ_BY_OPENSSL, (value, whole) => {
    readAll(value, whole, DEPTH_MAX);
  });
}

function damageIn(
  extensions: CertificateParts['extensions'],
  forms: readonly Form[],
  check: (value: Buffer, whole: Element) => void,
): string | undefined {
  for (const { id, name, tag } of forms) {
    const extension = extensions.get(id);
    try {
      if (extension === undefined) continue;
      const value = valueOf(extension);
      check(value, wholeElement(value, tag));
    } catch (error) {
      return `its ${name} cannot be read (${textOf(error)})`;
    }
  }
  return undefined;
}

/** Throws when an element in `parent` is cut off. */
function readAll(bytes: Buffer, parent: Element, depth: number): void {
  const isConstructed = (parent.tag & 0x20) !== 0;
  if (!isConstructed || depth === 0) return;
  for (const child of childrenOf(bytes, parent)) readAll(bytes, child, depth - 1);
}

/** Why a certificate of a file cannot be used: which one it is, and `error`. */
export function unusable(der: Buffer, number: number, error: unknown): string {
  return `certificate ${String(number)}${subjectOf(der)}: ${textOf(error)}`;
}

function subjectOf(der: Buffer): string {
  try {
    return ` ("${new X509Certificate(der).subject.replaceAll('\n', ', ')}")`;
  } catch {
    return '';
  }
}
