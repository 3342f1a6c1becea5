// The host's side of the SSH auth stream, the first bi-stream of a connection (docs/bmux-protocol.md, "SSH auth").
import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { keyFingerprint, verifySshSignature } from './ssh-signature.ts';

const MAX_LINE_BYTES = 64 * 1024;
const PROTOCOL_VERSION = 1;

export interface SshAccess {
  /** Keys that are accepted, as OpenSSH public key lines. */
  readonly allowed: readonly { readonly publicKeyOpenssh: string }[];
}

/** Lines of a stream, without their ends. Stops at the stream's end; throws past the limit. */
async function* lines(stream: Duplex): AsyncGenerator<string, undefined> {
  let held = Buffer.alloc(0);
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    held = Buffer.concat([held, chunk as Buffer]);
    for (let at = held.indexOf(10); at >= 0; at = held.indexOf(10)) {
      yield held.subarray(0, at).toString('utf8');
      held = held.subarray(at + 1);
    }
    if (held.length > MAX_LINE_BYTES) throw new Error('the line is too long');
  }
  return undefined;
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

/** Returns the fingerprint of the proven key. Rejects for every refusal; the caller then drops the connection, as real hosts do. */
export async function authenticateClient(stream: Duplex, access: SshAccess): Promise<string> {
  const incoming = lines(stream);
  const receive = async (): Promise<Readonly<Record<string, unknown>>> => {
    const { value } = await incoming.next();
    if (value === undefined) throw new Error('the client left');
    return record(JSON.parse(value));
  };
  const send = (message: unknown): void => void stream.write(`${JSON.stringify(message)}\n`);

  const hello = await receive();
  if (hello['type'] !== 'hello' || hello['version'] !== PROTOCOL_VERSION)
    throw new Error('no hello of version 1');
  const challenge = randomBytes(32);
  const allowed = access.allowed.map(({ publicKeyOpenssh }) => keyFingerprint(publicKeyOpenssh));
  send({ type: 'challenge', challenge: [...challenge], allowed_fingerprints: allowed });

  const message = await receive();
  const { fingerprint, public_key_openssh: line, signature_pem: pem } = record(message['proof']);
  if (message['type'] !== 'proof' || typeof line !== 'string' || typeof pem !== 'string')
    throw new Error('no proof');
  const accepted = keyFingerprint(line);
  if (fingerprint !== accepted) throw new Error('the fingerprint is not that of the key');
  if (!allowed.includes(accepted)) throw new Error('SSH key fingerprint is not authorized');
  if (!verifySshSignature(line, pem, challenge)) throw new Error('the signature is not valid');
  send({ type: 'result', ok: true, error: null });
  stream.end();
  return accepted;
}
