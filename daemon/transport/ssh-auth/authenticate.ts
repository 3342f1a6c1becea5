// SSH auth on the first stream of an iroh connection: proves that the caller's SSH agent holds a key that the host lists
// (docs/bmux-protocol.md, "SSH auth").
import type { Duplex } from 'node:stream';
import { Failure, textOf } from '../../base/failure.ts';
import { advised, fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Dialling } from '../dialling.ts';
import { endGracefully } from '../end.ts';
import { LineStream } from './json-lines.ts';
import {
  agentKeys,
  agentSign,
  AgentError,
  AgentGone,
  AgentRefusal,
  publicKeyLine,
  type AgentKey,
} from './agent.ts';
import { parseChallenge, parseResult, type Challenge } from './messages.ts';
import { armoredSignature, signedBytes } from './sshsig.ts';

/** Maximum number of fingerprints of a host's list that a refusal shows. */
const SHOWN = 8;
/** Longest signature without a confirmation by a person, ms. An RSA key of 4096 bits takes a few ms; a person needs longer to see the question. */
const UNATTENDED_MS = 200;

export interface SshAuthOptions extends Dialling {
  /** SSH_AUTH_SOCK of the caller; without it authentication fails with an error that says so. */
  readonly agentSocket: string | undefined;
  /** The target's name, for texts. */
  readonly label: string;
  /** Called before the agent is asked to sign: from then on it may ask a person. */
  readonly onSign?: () => void;
}

/** The identity that a connection was authenticated with. */
export interface SshIdentity {
  readonly fingerprint: string;
  readonly comment: string;
  /** The agent signed so fast that it cannot have asked a person to confirm. */
  readonly unattended: boolean;
}

/**
 * Runs the exchange on `stream` and ends it. Rejects with ssh_auth_timeout, or with ssh_auth_failed, whose cause is ssh_auth_rejected,
 * ssh_auth_error or ssh_auth_no_key. A real host refuses by closing the connection, so an end before the result is a refusal.
 */
export async function authenticate(stream: Duplex, options: SshAuthOptions): Promise<SshIdentity> {
  const late = (): Failure => fail('ssh_auth_timeout', { label: options.label });
  const lines = new LineStream(stream, { ...options, late });
  try {
    const identity = await exchange(lines, options, late);
    lines.release();
    void endGracefully(stream, LIMITS.endMs);
    return identity;
  } catch (error) {
    lines.release();
    // A destroyed iroh stream finishes its send side and reads to the end by itself.
    stream.destroy();
    if (options.signal.aborted) throw error;
    if (error instanceof Failure && error.code === 'ssh_auth_timeout') throw error;
    const cause = error instanceof Failure ? error : fail('ssh_auth_error', { why: textOf(error) }, error);
    const failed = fail('ssh_auth_failed', {}, cause);
    if (error instanceof AgentGone)
      throw advised(failed, 'Start an SSH agent, or set SSH_AUTH_SOCK to the socket of one.');
    if (error instanceof AgentRefusal)
      throw advised(
        failed,
        'Unlock the SSH agent or confirm the use of the key, or load another one (`ssh-add`).',
      );
    if (error instanceof AgentError)
      throw advised(
        failed,
        'See that SSH_AUTH_SOCK is the socket of an SSH agent, and that `ssh-add -l` works.',
      );
    throw failed;
  }
}

async function exchange(
  lines: LineStream,
  options: SshAuthOptions,
  late: () => Failure,
): Promise<SshIdentity> {
  const { agentSocket } = options;
  if (agentSocket === undefined || agentSocket === '') {
    throw new AgentGone('no SSH agent (SSH_AUTH_SOCK is not set)');
  }
  // The agent lists its keys while the hello is on its way.
  lines.send({ type: 'hello', version: 1 });
  const [first, keys] = await Promise.all([lines.next(), agentKeys(agentSocket, options, late)]);
  if (first === undefined) throw refused('the host closed the connection before its challenge');
  const challenge = parseChallenge(first);
  const usable = allowedKeys(challenge, keys);
  if (usable.length === 0)
    throw fail('ssh_auth_no_key', {}, new AgentError(`the host lists ${listed(challenge)}`));
  options.onSign?.();
  const { key, signature, unattended } = await firstSignature(
    agentSocket,
    usable,
    signedBytes(challenge.challenge),
    options,
    late,
  );
  lines.send({
    type: 'proof',
    proof: {
      fingerprint: key.fingerprint,
      public_key_openssh: publicKeyLine(key),
      signature_pem: armoredSignature(key.blob, signature),
    },
  });
  const second = await lines.next();
  const offered = `${named(key)} was offered; the host lists ${listed(challenge)}`;
  if (second === undefined) throw refused(`the host closed the connection: ${offered}`);
  const result = parseResult(second);
  if (!result.ok) throw refused(`${printable(result.error ?? 'no reason given')}: ${offered}`);
  return { fingerprint: key.fingerprint, comment: key.comment, unattended };
}

function refused(why: string): Failure {
  return fail('ssh_auth_rejected', { why });
}

/** The keys that the host lists and the agent holds, in the order of the host. */
function allowedKeys(challenge: Challenge, keys: readonly AgentKey[]): AgentKey[] {
  const held = new Map(keys.map((key) => [key.fingerprint, key]));
  return [...new Set(challenge.allowedFingerprints)].flatMap((fingerprint) => held.get(fingerprint) ?? []);
}

interface Signature {
  readonly key: AgentKey;
  readonly signature: Buffer;
  readonly unattended: boolean;
}

/** Signs with the first key for which the agent does. A key that it refuses is told when it refuses all of them. */
async function firstSignature(
  agentSocket: string,
  keys: readonly AgentKey[],
  data: Buffer,
  dialling: Dialling,
  late: () => Failure,
): Promise<Signature> {
  const refusals: string[] = [];
  for (const key of keys) {
    const since = performance.now();
    try {
      const signature = await agentSign(agentSocket, key, data, dialling, late);
      return { key, signature, unattended: performance.now() - since < UNATTENDED_MS };
    } catch (error) {
      // An agent may fail at one key, as at one on a token that is not plugged in.
      if (!(error instanceof AgentError) || error instanceof AgentGone) throw error;
      if (refusals.length < SHOWN) refusals.push(`${error.message} with ${named(key)}`);
    }
  }
  throw new AgentRefusal(refusals.join('; '));
}

/** A key for texts: fingerprint and comment. */
function named({ fingerprint, comment }: AgentKey): string {
  return `key ${fingerprint} (${printable(comment)})`;
}

function listed({ allowedFingerprints: all }: Challenge): string {
  if (all.length === 0) return 'no key';
  const shown = all.slice(0, SHOWN).map(printable).join(', ');
  return all.length > SHOWN ? `${shown} and ${String(all.length - SHOWN)} more` : shown;
}

/** Shortens a peer's text for a terminal and removes control characters. */
function printable(text: string): string {
  return text.slice(0, 200).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ');
}
