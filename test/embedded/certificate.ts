// Makes a self-signed certificate for loopback in the form of `bmux server gateway --quick`: names only, no CA flag. So both OpenSSL and
// rustls accept it as its own trust anchor.
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';
import { encoded as der } from '../../daemon/transport/tls/certificates/der.ts';

export interface Certificate {
  /** PEM; can be used as `ca_file` too. */
  readonly certPem: string;
  /** PEM, PKCS #8. */
  readonly keyPem: string;
  /** `SHA256:` and 64 hex digits over the DER, the format of bmux's pins (docs/bmux-protocol.md, "Certificate pins"). */
  readonly fingerprint: string;
}

const SEQUENCE = 0x30;
const SET = 0x31;

const oid = (...bytes: readonly number[]): Buffer => der(0x06, Buffer.from(bytes));
const ECDSA_WITH_SHA256 = der(SEQUENCE, oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));
const COMMON_NAME = oid(0x55, 0x04, 0x03);
const SUBJECT_ALT_NAME = oid(0x55, 0x1d, 0x11);

/** `YYYYMMDDHHMMSSZ`: the only time format that is valid for every year. */
function time(date: Date): Buffer {
  return der(0x18, Buffer.from(`${date.toISOString().replace(/[-:T]|\.\d+Z$/g, '')}Z`));
}

function ipBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail = ''] = address.split('::');
  const groups = (text: string): number[] => (text === '' ? [] : text.split(':').map((g) => parseInt(g, 16)));
  const left = groups(head);
  const right = groups(tail);
  const all = [...left, ...Array<number>(8 - left.length - right.length).fill(0), ...right];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

function altName(name: string): Buffer {
  return isIP(name) === 0 ? der(0x82, Buffer.from(name, 'ascii')) : der(0x87, ipBytes(name));
}

/** Makes a P-256 key and a certificate for `names` (DNS names and IP addresses), valid from yesterday for ten years. */
export function selfSigned(names: readonly string[] = ['localhost', '127.0.0.1', '::1']): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const subject = der(
    SEQUENCE,
    der(SET, der(SEQUENCE, COMMON_NAME, der(0x0c, Buffer.from('embedded bmux gateway')))),
  );
  const day = 24 * 3600 * 1000;
  const serial = randomBytes(16);
  serial[0] = 0x40 | ((serial[0] ?? 0) & 0x3f); // positive, and no leading zero
  const body = der(
    SEQUENCE,
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    ECDSA_WITH_SHA256,
    subject,
    der(SEQUENCE, time(new Date(Date.now() - day)), time(new Date(Date.now() + 3650 * day))),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(
      0xa3,
      der(
        SEQUENCE,
        der(SEQUENCE, SUBJECT_ALT_NAME, der(0x04, der(SEQUENCE, ...names.map((name) => altName(name))))),
      ),
    ),
  );
  const signature = der(0x03, Buffer.from([0]), sign('sha256', body, privateKey));
  const certificate = der(SEQUENCE, body, ECDSA_WITH_SHA256, signature);
  const lines = certificate.toString('base64').match(/.{1,64}/g) ?? [];
  return {
    certPem: ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n'),
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    fingerprint: `SHA256:${createHash('sha256').update(certificate).digest('hex')}`,
  };
}
