// TLS alerts of a peer, by the names that bmux shows.
import type { Failure } from '../../base/failure.ts';
import { advised, fail } from '../../errors/fail.ts';

/** By the number of RFC 8446 and RFC 5246, as rustls calls them. */
const NAMES: Readonly<Record<number, string>> = {
  10: 'UnexpectedMessage',
  20: 'BadRecordMac',
  21: 'DecryptionFailed',
  22: 'RecordOverflow',
  30: 'DecompressionFailure',
  40: 'HandshakeFailure',
  41: 'NoCertificate',
  42: 'BadCertificate',
  43: 'UnsupportedCertificate',
  44: 'CertificateRevoked',
  45: 'CertificateExpired',
  46: 'CertificateUnknown',
  47: 'IllegalParameter',
  48: 'UnknownCA',
  49: 'AccessDenied',
  50: 'DecodeError',
  51: 'DecryptError',
  60: 'ExportRestriction',
  70: 'ProtocolVersion',
  71: 'InsufficientSecurity',
  80: 'InternalError',
  86: 'InappropriateFallback',
  90: 'UserCanceled',
  100: 'NoRenegotiation',
  109: 'MissingExtension',
  110: 'UnsupportedExtension',
  111: 'CertificateUnobtainable',
  112: 'UnrecognisedName',
  113: 'BadCertificateStatusResponse',
  114: 'BadCertificateHashValue',
  115: 'UnknownPSKIdentity',
  116: 'CertificateRequired',
  120: 'NoApplicationProtocol',
};

/** The name of the fatal alert that has ended a TLS connection; undefined for any other error. */
export function alertIn(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const number = /SSL alert number (\d+)/.exec(error.message)?.[1];
  return number === undefined ? undefined : (NAMES[Number(number)] ?? `alert ${number}`);
}

/** The failure of a handshake before the certificate is judged. */
export function handshakeFailure(label: string, error: unknown): Failure {
  const alert = alertIn(error);
  const why = alert === undefined ? error : new Error(`received fatal alert: ${alert}`);
  return advised(
    fail('tls_handshake_failed', { label }, why),
    'Is it a TLS gateway of bmux that listens there? It must speak TLS 1.3, or 1.2 with ECDHE and AES-GCM or ChaCha20, without client certificates.',
  );
}
