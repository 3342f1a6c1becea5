// SSHSIG, the signature format of `ssh-keygen -Y sign` (OpenSSH PROTOCOL.sshsig), as bmux hosts require it: docs/bmux-protocol.md, "SSH signatures".
import { createHash } from 'node:crypto';
import { sshString } from './agent.ts';

/** The namespace that bmux hosts verify. */
export const NAMESPACE = 'git-sshripped-access-v1';
const HASH = 'sha256';
const MAGIC = Buffer.from('SSHSIG');
const VERSION = Buffer.from([0, 0, 0, 1]);
const COLUMNS = 70;

/** The bytes that the key signs for `message`. */
export function signedBytes(message: Buffer): Buffer {
  const digest = createHash(HASH).update(message).digest();
  return Buffer.concat([MAGIC, sshString(NAMESPACE), sshString(''), sshString(HASH), sshString(digest)]);
}

/** The armored signature, in the format of ssh-keygen: LF line ends, 70 columns. `signature` is in SSH's wire format. */
export function armoredSignature(publicKey: Buffer, signature: Buffer): string {
  const blob = Buffer.concat([
    MAGIC,
    VERSION,
    sshString(publicKey),
    sshString(NAMESPACE),
    sshString(''),
    sshString(HASH),
    sshString(signature),
  ]).toString('base64');
  const lines = blob.match(new RegExp(`.{1,${String(COLUMNS)}}`, 'g')) ?? [];
  return ['-----BEGIN SSH SIGNATURE-----', ...lines, '-----END SSH SIGNATURE-----', ''].join('\n');
}
