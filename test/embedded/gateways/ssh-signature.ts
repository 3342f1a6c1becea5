// The host's side of SSH proofs: OpenSSH public key lines, bmux's fingerprints, SSHSIG signatures (docs/bmux-protocol.md, "SSH signatures").
import { createHash, createPublicKey, verify, type KeyObject } from 'node:crypto';

const NAMESPACE = 'git-sshripped-access-v1';
const MAGIC = Buffer.from('SSHSIG');

/** Reads consecutive strings in SSH's wire format. Throws on truncated input. */
class SshReader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, from = 0) {
    this.#bytes = bytes;
    this.#at = from;
  }

  u32(): number {
    const value = this.#bytes.readUInt32BE(this.#at);
    this.#at += 4;
    return value;
  }

  bytes(): Buffer {
    const length = this.u32();
    const from = this.#at;
    if (from + length > this.#bytes.length) throw new Error('truncated');
    this.#at += length;
    return this.#bytes.subarray(from, this.#at);
  }

  text(): string {
    return this.bytes().toString('utf8');
  }
}

function sshString(value: Buffer | string): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

interface OpensshKey {
  readonly type: string;
  readonly body: string;
}

function parseLine(line: string): OpensshKey {
  const [type, body] = line.trim().split(/\s+/);
  if (type === undefined || body === undefined) throw new Error('not an OpenSSH public key');
  return { type, body };
}

/** The fingerprint of the auth stream: base64url of SHA-256 over `type:body`, without the comment. */
export function keyFingerprint(publicKeyOpenssh: string): string {
  const { type, body } = parseLine(publicKeyOpenssh);
  return createHash('sha256').update(`${type}:${body}`).digest('base64url');
}

function publicKey(blob: Buffer): { readonly type: string; readonly key: KeyObject } {
  const reader = new SshReader(blob);
  const type = reader.text();
  if (type === 'ssh-ed25519') {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: reader.bytes().toString('base64url') };
    return { type, key: createPublicKey({ key: jwk, format: 'jwk' }) };
  }
  if (type === 'ssh-rsa') {
    const unsigned = (bytes: Buffer): string =>
      (bytes[0] === 0 ? bytes.subarray(1) : bytes).toString('base64url');
    const e = unsigned(reader.bytes());
    const n = unsigned(reader.bytes());
    return { type, key: createPublicKey({ key: { kty: 'RSA', e, n }, format: 'jwk' }) };
  }
  throw new Error(`keys of type ${type} are not taken`);
}

/** Hash for the signature algorithm; RSA with SHA-1 is not accepted. */
const ALGORITHMS: Readonly<Record<string, { readonly keyType: string; readonly hash: string | null }>> = {
  'ssh-ed25519': { keyType: 'ssh-ed25519', hash: null },
  'rsa-sha2-256': { keyType: 'ssh-rsa', hash: 'sha256' },
  'rsa-sha2-512': { keyType: 'ssh-rsa', hash: 'sha512' },
};

/** True when `signaturePem` is an SSHSIG by this key over `message`. Throws when it is no SSHSIG at all. */
export function verifySshSignature(
  publicKeyOpenssh: string,
  signaturePem: string,
  message: Uint8Array,
): boolean {
  const armor = /^-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)-----END SSH SIGNATURE-----\n?$/.exec(
    signaturePem,
  );
  if (armor?.[1] === undefined) throw new Error('not an SSH signature');
  const bytes = Buffer.from(armor[1], 'base64');
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw new Error('not an SSHSIG');
  const reader = new SshReader(bytes, MAGIC.length);
  if (reader.u32() !== 1) throw new Error('unknown SSHSIG version');
  const blob = reader.bytes();
  const namespace = reader.text();
  const reserved = reader.bytes();
  const hash = reader.text();
  const signature = new SshReader(reader.bytes());
  const algorithm = ALGORITHMS[signature.text()];
  const { type, key } = publicKey(blob);
  if (namespace !== NAMESPACE || hash !== 'sha256' || algorithm?.keyType !== type) return false;
  if (!blob.equals(Buffer.from(parseLine(publicKeyOpenssh).body, 'base64'))) return false;
  const signed = Buffer.concat([
    MAGIC,
    sshString(namespace),
    sshString(reserved),
    sshString(hash),
    sshString(createHash(hash).update(message).digest()),
  ]);
  return verify(algorithm.hash, signed, key, signature.bytes());
}
