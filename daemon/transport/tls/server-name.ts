// Checks the name of a certificate by the rules of rustls: no fall-back to the common name, IP addresses by their SAN.
import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { checkServerIdentity } from 'node:tls';
import { dnsNamesOf, isDnsName } from './certificates/constraints.ts';
import type { Presented } from './paths.ts';

/** True for a name that rustls accepts as server name: a DNS name (RFC 5890 labels and `_`; a trailing dot is allowed) or an IP address. */
export function isServerName(name: string): boolean {
  if (isIP(name) !== 0) return !name.includes('%');
  if (name === '' || Buffer.byteLength(name) > 253) return false;
  return isDnsName(name.replace(/\.$/, ''));
}

/** The SNI to send: none for an IP address, and no trailing dot. */
export function sniOf(name: string): string {
  return isIP(name) === 0 ? name.replace(/\.$/, '') : '';
}

/** Its alternative names, as text; undefined without any. */
export function namesOf({ subjectAltName }: Pick<X509Certificate, 'subjectAltName'>): string | undefined {
  return subjectAltName === '' ? undefined : subjectAltName;
}

/** Why the certificate is not valid for `name`, or undefined. Its common name never counts. */
export function identityError(name: string, presented: Presented): Error | undefined {
  const { certificate } = presented;
  const names = namesOf(certificate) ?? 'none';
  if (isIP(name) !== 0) {
    // `checkServerIdentity` knows no IPv6 address in several releases of Node (22.23, 24.17).
    if (certificate.checkIP(name) !== undefined) return undefined;
    return new Error(`the certificate is not valid for ${name}; its names: ${names}`);
  }
  const legacy = certificate.toLegacyObject();
  const isNamed =
    checkServerIdentity(name, { ...legacy, subject: { ...legacy.subject, CN: '' } }) === undefined;
  if (isNamed && isOneOf(dnsNamesOf(presented), name)) return undefined;
  return new Error(`the certificate is not valid for ${name}; its names: ${names}`);
}

/** As rustls has it: a wildcard is a whole label, and names of a certificate have no trailing dot. Node accepts more. */
function isOneOf(names: readonly string[], name: string): boolean {
  const wanted = name.toLowerCase().replace(/\.$/, '');
  return names.includes(wanted) || names.includes(wanted.replace(/^[^.]+/, '*'));
}
