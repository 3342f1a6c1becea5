// A client of the SSH agent protocol (draft-miller-ssh-agent): lists keys, and signs with one. All data from the agent is bounded.
import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { excessOf } from '../../base/files/socket-path.ts';
import { errnoOf } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';
import { inTime } from '../../base/async/deadline.ts';
import { Slices } from '../../base/async/slices.ts';
import type { Dialling } from '../dialling.ts';

const REQUEST_IDENTITIES = 11;
const IDENTITIES_ANSWER = 12;
const SIGN_REQUEST = 13;
const SIGN_RESPONSE = 14;
const RSA_SHA2_256 = 2;
const RSA_SHA2_512 = 4;

/** Largest message, bytes, as in bmux. OpenSSH's own agent sends a quarter of it at most. */
const MESSAGE_MAX = 1 << 20;
/** Bytes of the shortest entry of a list: two lengths. */
const ENTRY_MIN = 8;
/** Longest comment that is kept, bytes. It is part of a line to the host, which has a limit. */
const COMMENT_MAX = 256;

/** Why nobody can be reached at a socket. Other failures, as of a full queue, say nothing about the agent. */
const NOBODY: ReadonlySet<string> = new Set([
  'ENOENT',
  'ENOTDIR',
  'ECONNREFUSED',
  'EACCES',
  'ELOOP',
  'ENOTSOCK',
]);

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

/** Nobody listens on the agent's socket. */
export class AgentGone extends AgentError {}

/** The agent signs with none of the keys that the host lists. */
export class AgentRefusal extends AgentError {}

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

/**
 * Returns the usable keys of the agent, in its order. Rejects with AgentError; `late` makes the error of a timeout. A list of two thousand takes
 * 10 ms, so it is read in `slices`.
 */
export async function agentKeys(
  agentSocket: string,
  dialling: Dialling,
  late: () => Error,
  slices: Pick<Slices, 'next'> = new Slices(),
): Promise<AgentKey[]> {
  const answer = await ask(agentSocket, Buffer.from([REQUEST_IDENTITIES]), dialling, late);
  const reader = new SshReader(answer);
  if (reader.byte() !== IDENTITIES_ANSWER) throw new AgentError('the SSH agent refused to list its keys');
  const count = reader.u32();
  if (count > answer.length / ENTRY_MIN) throw new AgentError(`the SSH agent claims ${String(count)} keys`);
  const keys: AgentKey[] = [];
  for (let i = 0; i < count; i++) {
    await slices.next();
    const blob = reader.string();
    const comment = reader.string().subarray(0, COMMENT_MAX);
    const type = typeOf(blob);
    if (type !== 'ssh-ed25519' && type !== 'ssh-rsa') continue;
    // Copied, because a slice keeps the whole answer in memory.
    const own = Buffer.from(blob);
    keys.push({ type, blob: own, comment: comment.toString('utf8'), fingerprint: keyFingerprint(type, own) });
  }
  return keys;
}

/** The type of a key; undefined when the blob names none. Such an entry is skipped, as one of an unknown type is. */
function typeOf(blob: Buffer): string | undefined {
  if (blob.length < 4 || blob.readUInt32BE() > blob.length - 4) return undefined;
  return new SshReader(blob).string().toString('latin1');
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
  const excess = excessOf(agentSocket);
  if (excess !== undefined)
    return Promise.reject(new AgentGone(fail('socket_path_too_long', excess).message));
  // As an option, because a path of digits alone would be taken for a TCP port.
  const socket = connect({ path: agentSocket });
  const answered = new Promise<Buffer>((resolve, reject) => {
    let isConnected = false;
    socket.once('connect', () => {
      isConnected = true;
    });
    socket.once('error', (cause) => {
      const Kind = !isConnected && NOBODY.has(errnoOf(cause) ?? '') ? AgentGone : AgentError;
      reject(new Kind(`cannot talk to the SSH agent: ${cause.message}`, cause));
    });
    socket.once('close', () => {
      reject(new AgentError('the SSH agent closed the connection without an answer'));
    });
    const message = new Message();
    socket.on('data', (chunk: Buffer) => {
      try {
        const whole = message.take(chunk);
        if (whole !== undefined) resolve(whole);
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    });
    socket.write(sshString(request));
  });
  return inTime(answered, deadline.remaining(), late, { signal }).finally(() => {
    socket.on('error', () => undefined);
    socket.destroy();
  });
}

/** Puts one message of an agent together. Each byte is copied once, in however small pieces the agent sends it. */
class Message {
  readonly #head = Buffer.alloc(4);
  #headLength = 0;
  #body: Buffer | undefined;
  #bodyLength = 0;

  /** Returns the message when it is complete. Throws when it is empty or too long. */
  take(chunk: Buffer): Buffer | undefined {
    const inHead = chunk.copy(this.#head, this.#headLength);
    this.#headLength += inHead;
    if (this.#headLength < 4) return undefined;
    const length = this.#head.readUInt32BE();
    if (length === 0 || length > MESSAGE_MAX)
      throw new AgentError(`the SSH agent sent a message of ${String(length)} bytes`);
    this.#body ??= Buffer.alloc(length);
    this.#bodyLength += chunk.copy(this.#body, this.#bodyLength, inHead);
    return this.#bodyLength === length ? this.#body : undefined;
  }
}
