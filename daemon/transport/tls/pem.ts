// Reads certificates from PEM text, as strictly as rustls_pemfile and webpki do for a ca_file.
import { X509Certificate } from 'node:crypto';

/** An error of a PEM text: in its framing, or in a certificate. */
export class PemError extends Error {
  readonly kind: 'framing' | 'certificate';

  constructor(kind: PemError['kind'], message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.name = 'PemError';
    this.kind = kind;
  }
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** Returns the bodies of all CERTIFICATE sections as DER. Other sections are skipped. Throws PemError `framing`. */
export function pemCertificates(text: string): Buffer[] {
  const found: Buffer[] = [];
  let section: { name: string; body: string[] } | undefined;
  for (const raw of text.split(/\r\n|\n|\r/)) {
    const line = raw.trim();
    if (section === undefined) {
      const name = /^-----BEGIN ([^-]*)-----/.exec(line)?.[1];
      if (name !== undefined) section = { name, body: [] };
      continue;
    }
    if (line.startsWith(`-----END ${section.name}-----`)) {
      if (section.name === 'CERTIFICATE') {
        const body = section.body.join('');
        if (!BASE64.test(body) || body.length % 4 === 1) {
          throw new PemError('framing', 'a certificate is not valid base64');
        }
        found.push(Buffer.from(body, 'base64'));
      }
      section = undefined;
    } else {
      section.body.push(line);
    }
  }
  if (section !== undefined) throw new PemError('framing', `the section ${section.name} has no end`);
  return found;
}

/** Formats one certificate as PEM that OpenSSL accepts. Throws PemError `certificate` when it is no X.509 certificate. */
export function pemOf(der: Buffer): string {
  try {
    return new X509Certificate(der).toString();
  } catch (cause) {
    throw new PemError('certificate', 'not an X.509 certificate', cause);
  }
}

/** Returns all usable certificates of a text, each as PEM. Broken ones are skipped, as rustls-native-certs does. */
export function usableCertificates(text: string): string[] {
  let ders: Buffer[];
  try {
    ders = pemCertificates(text);
  } catch {
    return [];
  }
  return ders.flatMap((der) => {
    try {
      return [pemOf(der)];
    } catch {
      return [];
    }
  });
}
