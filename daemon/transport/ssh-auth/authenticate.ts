// SSH auth on the first stream of an iroh connection: proves that the caller's SSH agent holds a key that the host lists
// (docs/bmux-protocol.md, "SSH auth").
import type { Duplex } from 'node:stream';
import { Deadline, inTime } from '../../base/async/deadline.ts';
import { Failure, textOf } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Dialling } from '../dialling.ts';
import { endGracefully } from '../end.ts';
import { LineStream } from './json-lines.ts';
import { agentKeys, agentSign, AgentError, publicKeyLine, type AgentKey } from './agent.ts';
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
    throw fail('ssh_auth_failed', {}, cause);
  }
}

async function exchange(
  lines: LineStream,
  options: SshAuthOptions,
  late: () => Failure,
): Promise<SshIdentity> {
  const { agentSocket } = options;
  if (agentSocket === undefined || agentSocket === '') {
    throw fail('ssh_auth_error', { why: 'no SSH agent (SSH_AUTH_SOCK is not set)' });
  }
  // The agent lists its keys while the hello is on its way.
  lines.send({ type: 'hello', version: 1 });
  const [first, keys] = await Promise.all([lines.next(), agentKeys(agentSocket, options, late)]);
  if (first === undefined) throw refused('the host closed the connection before its challenge');
  const challenge = parseChallenge(first);
  const key = firstAllowed(challenge, keys);
  if (key === undefined)
    throw fail('ssh_auth_no_key', {}, new AgentError(`the host lists ${listed(challenge)}`));
  options.onSign?.();
  const since = performance.now();
  const signature = await agentSign(agentSocket, key, signedBytes(challenge.challenge), options, late);
  const unattended = performance.now() - since < UNATTENDED_MS;
  lines.send({
    type: 'proof',
    proof: {
      fingerprint: key.fingerprint,
      public_key_openssh: publicKeyLine(key),
      signature_pem: armoredSignature(key.blob, signature),
    },
  });
  const second = await lines.next();
  const offered = `key ${key.fingerprint} (${printable(key.comment)}) was offered; the host lists ${listed(challenge)}`;
  if (second === undefined) throw refused(`the host closed the connection: ${offered}`);
  const result = parseResult(second);
  if (!result.ok) throw refused(`${printable(result.error ?? 'no reason given')}: ${offered}`);
  return { fingerprint: key.fingerprint, comment: key.comment, unattended };
}

function refused(why: string): Failure {
  return fail('ssh_auth_rejected', { why });
}

function firstAllowed(challenge: Challenge, keys: readonly AgentKey[]): AgentKey | undefined {
  const held = new Map(keys.map((key) => [key.fingerprint, key]));
  const allowed = challenge.allowedFingerprints.find((fingerprint) => held.has(fingerprint));
  return allowed === undefined ? undefined : held.get(allowed);
}

function listed({ allowedFingerprints: all }: Challenge): string {
  if (all.length === 0) return 'no key';
  const shown = all.slice(0, SHOWN).map(printable).join(', ');
  return all.length > SHOWN ? `${shown} and ${String(all.length - SHOWN)} more` : shown;
}

/** Shortens a peer's text for a terminal and removes control characters. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ').slice(0, 200);
}

/**
 * Returns the fingerprints of the usable keys that an agent holds now. A warm connection is shared only with a caller whose own agent lists
 * its key. Rejects with ssh_auth_failed or ssh_auth_timeout.
 */
export async function agentFingerprints(
  agentSocket: string,
  options: Dialling & { readonly label: string },
): Promise<string[]> {
  const late = (): Failure => fail('ssh_auth_timeout', { label: options.label });
  try {
    const limits = {
      deadline: new Deadline(options.deadline.within(LIMITS.agentListMs)),
      signal: options.signal,
    };
    return (await agentKeys(agentSocket, limits, late)).map((key) => key.fingerprint);
  } catch (error) {
    if (error instanceof Failure || options.signal.aborted) throw error;
    throw fail('ssh_auth_failed', {}, fail('ssh_auth_error', { why: textOf(error) }, error));
  }
}

/** An agent that answers, and the keys that it lists. */
export interface AnsweringAgent {
  readonly agentSocket: string;
  readonly fingerprints: readonly string[];
}

/** How long only the caller's own agent is waited for, ms: the agent of a login that has ended is gone or does not answer. */
const OWN_FIRST_MS = 250;

/**
 * Returns the first of `agentSockets` if it lists its keys soon, else the first other one that does. A forwarded agent ends with its login, so
 * others are needed. All are asked at once. Undefined when none answers. Rejects with the signal's reason.
 */
export async function answeringAgent(
  agentSockets: readonly string[],
  options: Dialling & { readonly label: string },
): Promise<AnsweringAgent | undefined> {
  const asked = agentSockets.map(async (agentSocket): Promise<AnsweringAgent> => {
    return { agentSocket, fingerprints: await agentFingerprints(agentSocket, options) };
  });
  const any = Promise.any(asked).catch(() => undefined);
  const [own] = asked;
  if (own === undefined) return undefined;
  const late = (): Error => new Error('late');
  const first = await inTime(own, OWN_FIRST_MS, late, { signal: options.signal }).catch(() => undefined);
  const answering = first ?? (await any);
  options.signal.throwIfAborted();
  return answering;
}
