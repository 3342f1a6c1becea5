// A client of the SSH agent protocol (draft-miller-ssh-agent): lists keys, and signs with one. All data from the agent is bounded.
import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { inTime } from '../../base/async/deadline.ts';
import type { Dialling } from '../dialling.ts';

const REQUEST_IDENTITIES = 11;
const IDENTITIES_ANSWER = 12;
const SIGN_REQUEST = 13;
const SIGN_RESPONSE = 14;
const RSA_SHA2_256 = 2;
const RSA_SHA2_512 = 4;

/** OpenSSH's own limits: bytes of a message, and keys in an agent. */
const MESSAGE_MAX = 262_144;
const KEYS_MAX = 2048;

/** A key that an agent holds and that a bmux host may accept: Ed25519 or RSA, no certificate. */
export interface AgentKey {
  readonly type: 'ssh-ed25519' | 'ssh-rsa';
  /** The public key in SSH's wire format. */
  readonly blob: Buffer;
  readonly comment: string;
  /** docs/bmux-protocol.md, "SSH auth": base64url of SHA-256 over `type:base64`. */
  readonly fingerprint: string;
}

/** The agent violated its protocol, or refused. */
export class AgentError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.name = 'AgentError';
  }
}

/** Encodes a string of SSH: 4 bytes of length, then the bytes. */
export function sshString(bytes: Buffer | string): Buffer {
  const body = Buffer.from(bytes);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/** Reads SSH's wire format; a length beyond the input throws AgentError. */
export class SshReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  #take(length: number): Buffer {
    if (length > this.#bytes.length - this.#at)
      throw new AgentError('the SSH agent sent a truncated message');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  byte(): number {
    return this.#take(1).readUInt8();
  }

  u32(): number {
    return this.#take(4).readUInt32BE();
  }

  string(): Buffer {
    return this.#take(this.u32());
  }
}

/** docs/bmux-protocol.md, "SSH auth". The format differs from the one that ssh-keygen prints. */
export function keyFingerprint(type: string, blob: Buffer): string {
  return createHash('sha256')
    .update(`${type}:${blob.toString('base64')}`)
    .digest('base64url');
}

/** Formats the key as the line of a .pub file. */
export function publicKeyLine(key: AgentKey): string {
  const comment = key.comment.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, ' ').trim();
  return `${key.type} ${key.blob.toString('base64')}${comment === '' ? '' : ` ${comment}`}`;
}

/** Returns the usable keys of the agent, in its order. Rejects with AgentError; `late` makes the error of a timeout. */
export async function agentKeys(
  agentSocket: string,
  dialling: Dialling,
  late: () => Error,
): Promise<AgentKey[]> {
  const answer = await ask(agentSocket, Buffer.from([REQUEST_IDENTITIES]), dialling, late);
  const reader = new SshReader(answer);
  if (reader.byte() !== IDENTITIES_ANSWER) throw new AgentError('the SSH agent refused to list its keys');
  const count = reader.u32();
  if (count > KEYS_MAX) throw new AgentError(`the SSH agent claims ${String(count)} keys`);
  const keys: AgentKey[] = [];
  for (let i = 0; i < count; i++) {
    const blob = Buffer.from(reader.string());
    const comment = reader.string().toString('utf8');
    const type = new SshReader(blob).string().toString('latin1');
    if (type !== 'ssh-ed25519' && type !== 'ssh-rsa') continue;
    keys.push({ type, blob, comment, fingerprint: keyFingerprint(type, blob) });
  }
  return keys;
}

/**
 * Signs `data`; returns the signature in SSH's wire format (algorithm, bytes). RSA with SHA-512, else SHA-256: SHA-1 is never accepted. The
 * agent may ask its user first, so this waits until the deadline.
 */
export async function agentSign(
  agentSocket: string,
  key: AgentKey,
  data: Buffer,
  dialling: Dialling,
  late: () => Error,
): Promise<Buffer> {
  const wanted =
    key.type === 'ssh-rsa'
      ? [
          { flags: RSA_SHA2_512, algorithm: 'rsa-sha2-512' },
          { flags: RSA_SHA2_256, algorithm: 'rsa-sha2-256' },
        ]
      : [{ flags: 0, algorithm: 'ssh-ed25519' }];
  let refusal = 'the SSH agent refused to sign';
  for (const { flags, algorithm } of wanted) {
    const tail = Buffer.alloc(4);
    tail.writeUInt32BE(flags);
    const request = Buffer.concat([Buffer.from([SIGN_REQUEST]), sshString(key.blob), sshString(data), tail]);
    const reader = new SshReader(await ask(agentSocket, request, dialling, late));
    if (reader.byte() !== SIGN_RESPONSE) continue;
    const signature = Buffer.from(reader.string());
    const made = new SshReader(signature).string().toString('latin1');
    if (made === algorithm) return signature;
    refusal = `the SSH agent signed with ${JSON.stringify(made.slice(0, 40))} instead of ${algorithm}`;
  }
  throw new AgentError(refusal);
}

/** Sends one request on its own connection. */
function ask(
  agentSocket: string,
  request: Buffer,
  { deadline, signal }: Dialling,
  late: () => Error,
): Promise<Buffer> {
  const socket = connect(agentSocket);
  const answered = new Promise<Buffer>((resolve, reject) => {
    const chunks: Buffer[] = [];
    let got = 0;
    socket.once('error', (cause) => {
      reject(new AgentError(`cannot talk to the SSH agent: ${cause.message}`, cause));
    });
    socket.once('close', () => {
      reject(new AgentError('the SSH agent closed the connection without an answer'));
    });
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      got += chunk.length;
      if (got < 4) return;
      const all = chunks.length === 1 ? chunk : Buffer.concat(chunks.splice(0));
      if (chunks.length === 0) chunks.push(all);
      const length = all.readUInt32BE();
      if (length === 0 || length > MESSAGE_MAX) {
        reject(new AgentError(`the SSH agent sent a message of ${String(length)} bytes`));
      } else if (got >= 4 + length) {
        resolve(all.subarray(4, 4 + length));
      }
    });
    socket.write(sshString(request));
  });
  return inTime(answered, deadline.remaining(), late, { signal }).finally(() => {
    socket.on('error', () => undefined);
    socket.destroy();
  });
}
