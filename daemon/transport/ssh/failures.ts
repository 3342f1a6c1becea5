// Which failure the words of ssh mean. ssh has one exit status for all failures of its own, and does not translate its messages.
import { Failure } from '../../base/failure.ts';
import type { SshRoute } from '../../engine-protocol/plan.ts';
import { advised, fail } from '../../errors/fail.ts';
import type { Exit } from './process.ts';
import { CONFIG_READ, type Words } from './words.ts';

/** A failure of the transport that comes when the stream is open already: the other end has said why. */
export class SshEnd extends Failure {
  /** What of the bytes that were written did certainly not reach a server: all of them, or the last one at least. */
  readonly undelivered: 'all' | 'last byte' | undefined;

  constructor({ data, cause }: Failure, undelivered?: SshEnd['undelivered']) {
    super(data, cause);
    this.undelivered = undelivered;
  }
}

interface EndedProcess {
  readonly words: Words;
  readonly exit: Exit;
}

const CONFIG =
  /(?:^|: )terminating, \d+ bad|^Too many recursive configuration includes|^Invalid -J argument|^jumphost loop|^Bad owner or permissions on|^tilde_expand|percent_expand: unknown key|:? line \d+: (?:bad|unsupported|missing|no argument|invalid quotes|keyword)/im;
const DENIED = /Permission denied|Too many authentication failures|signing failed for/;
const KEY_CHANGED = /REMOTE HOST IDENTIFICATION HAS CHANGED/;
const KEY_REVOKED = /REVOKED HOST KEY|is marked as revoked/;
const KEY_UNKNOWN = /Host key verification failed|host key is known for .* strict checking/;
const KEY_NAMED = /host key is known for .* strict checking/;
const NO_KNOWN_HOSTS =
  'ssh has no known_hosts file to keep it in, so `bmuxd login` cannot ask: set known_hosts_file (in ssh_config UserKnownHostsFile) to a file, not to `none`.';
const CERTIFICATE_INVALID = /^Certificate invalid: /m;
const RENEW_CERTIFICATE =
  'The certificate of the host does not count: whoever runs the host has to renew it, for the name that you use.';
/** The proxy command has ended, or a jump host opens no connection to the host. */
const WAY_GONE =
  /^Connection (?:closed|reset) by UNKNOWN|Connection to UNKNOWN port \d+: |stdio forwarding failed|channel \d+: open failed/m;
/** The host has closed the connection before it said who it is. */
const CLOSED = /^kex_exchange_identification: (?:Connection closed|read: Connection reset)/m;

/** What servers of HTTP, mail and files say in place of the name of an SSH server. */
const NOT_SSH = /^(?:HTTP\/\d|<(?:!doctype|html)|220[ -]|\* OK )/im;

/** Why a login has failed. */
export function loginFailure(label: string, { words, exit }: EndedProcess): Failure {
  const said = words.text;
  if (exit.unstarted !== undefined) return fail('ssh_program_missing', { why: exit.unstarted });
  if (words.loop !== undefined)
    return advised(fail('ssh_config_unusable', { label }, new Error(words.loop.told)), words.loop.remedy);
  if (CONFIG.test(said)) return fail('ssh_config_unusable', { label }, words.asCause());
  if (/^(?:Exceeded MaxStartups|Not allowed at this time)/m.test(said))
    return fail('ssh_logins_refused', { label }, words.asCause());
  if (KEY_REVOKED.test(said)) return fail('ssh_host_key_revoked', { label }, words.asCause());
  if (WAY_GONE.test(said)) return wayFailure(label, words);
  if (KEY_CHANGED.test(said)) return fail('ssh_host_key_changed', { label }, words.asCause());
  if (KEY_UNKNOWN.test(said)) return keyUnknown(label, words);
  if (DENIED.test(said)) return denied(label, words);
  if (NOT_SSH.test(said))
    return advised(
      fail('ssh_login_failed', { label }, words.asCause()),
      'What listens there is no SSH server: check host and port.',
    );
  if (CLOSED.test(said)) return fail('ssh_logins_refused', { label }, words.asCause());
  if (/Could not resolve hostname/.test(said))
    return fail('ssh_host_unknown', { label }, words.asCause('ENOTFOUND'));
  if (/timed out|Operation timed out/i.test(said))
    return fail('ssh_connect_timeout', { label }, words.asCause('ETIMEDOUT'));
  if (/Connection refused/.test(said))
    return fail('ssh_unreachable', { label }, words.asCause('ECONNREFUSED'));
  if (/No route to host|Network is (?:unreachable|down)/.test(said))
    return fail('ssh_unreachable', { label }, words.asCause('EHOSTUNREACH'));
  return fail('ssh_login_failed', { label }, words.asCause());
}

/** With `UserKnownHostsFile none` ssh does not say that the key is unknown. It has no file to keep one in, and asks nobody. */
function keyUnknown(label: string, words: Words): Failure {
  const failure = fail('ssh_host_key_unknown', { label }, words.asCause());
  if (CERTIFICATE_INVALID.test(words.text)) return advised(failure, RENEW_CERTIFICATE);
  return KEY_NAMED.test(words.text) ? failure : advised(failure, NO_KNOWN_HOSTS);
}

/** What is waited for when a session is open. */
export const BMUX_THERE = 'bmux there to answer';

/** How far a login, or what followed it, has come. */
export type LoginProgress = Pick<Words, 'waitsFor'> & Partial<Pick<Words, 'unconfirmedKey'>>;

/** Why the way through a jump host or another proxy has ended before the host was reached. */
function wayFailure(label: string, words: Words): Failure {
  const { text, hop, lastHop } = words;
  const cause = words.asCause();
  if (lastHop === undefined) return fail('ssh_proxy_failed', { label }, cause);
  if (hop === undefined) {
    const refused = /open failed: connect failed: (.*)/.exec(text)?.[1];
    if (refused !== undefined)
      return fail(/\b[Nn]ame\b/.test(refused) ? 'ssh_host_unknown' : 'ssh_unreachable', { label }, cause);
    if (!/open failed/.test(text) && CLOSED.test(text)) return fail('ssh_logins_refused', { label }, cause);
  }
  const { name: jump, command } = hop ?? lastHop;
  if (KEY_CHANGED.test(text)) return fail('ssh_jump_key_changed', { label, jump }, cause);
  if (KEY_UNKNOWN.test(text)) return fail('ssh_jump_key_unknown', { label, jump }, cause);
  const why = hop !== undefined && DENIED.test(text) ? whyWanted(words) : undefined;
  return why === undefined
    ? fail('ssh_jump_failed', { label, jump, command }, cause)
    : fail('ssh_login_wanted', { label, why: `at the jump host ${jump}, ${why}` }, cause);
}

/** A login, or what followed it, that took too long. */
export function sshTimeout(
  label: string,
  { waitsFor: waitedFor, unconfirmedKey: key }: LoginProgress,
  words?: Words,
): Failure {
  const said = words?.asCause();
  if (key !== undefined)
    return fail(
      'ssh_login_wanted',
      { label, why: `nobody has confirmed the use of the key ${key} in time` },
      said,
    );
  if (waitedFor === undefined) return fail('ssh_connect_timeout', { label }, said);
  const cause = new Error(`waited for ${waitedFor}`, said === undefined ? {} : { cause: said });
  const failure = fail('ssh_connect_timeout', { label }, cause);
  if (waitedFor === BMUX_THERE)
    return advised(
      failure,
      `Try \`ssh HOST bmux --version\`: an rc file of the shell there may wait for something. When it is mended, run \`bmuxd drop ${label}\`.`,
    );
  return waitedFor === CONFIG_READ
    ? advised(failure, 'Try `ssh -G HOST`: a `Match exec` of ssh_config may wait for something.')
    : failure;
}

/** What ssh says of a key file that it does not use. It says nothing of one that only lacks its passphrase. */
const KEY_UNUSED = /^Load key "(.*)": (.*)$/m;
/** The token of a key is not there. */
const NO_TOKEN = /^sign_and_send_pubkey: signing failed for \S+ "(.*)".*: device not found/m;

/** What to do about a login that was denied for a reason that ssh names; undefined when it names none. */
function denialAdvice({ text, certificate }: Words): string | undefined {
  if (/Too many authentication failures/.test(text))
    return 'The host has refused the keys that ssh offers first, and takes no more: set `IdentitiesOnly yes` and IdentityFile for it in ssh_config, or remove keys from the agent (`ssh-add -d`).';
  const token = NO_TOKEN.exec(text)?.[1];
  if (token !== undefined) return `Plug in the security key that ${token} belongs to.`;
  return certificate === undefined
    ? undefined
    : `The host does not take the certificate for ${certificate}: \`ssh-keygen -L -f\` with its file shows until when and for whom it is valid. Renew it, or load another key.`;
}

function denied(label: string, words: Words): Failure {
  const [, file, fault] = KEY_UNUSED.exec(words.text) ?? [];
  if (file !== undefined && fault !== undefined)
    return advised(
      fail('ssh_denied', { label }, words.asCause()),
      fault.startsWith('bad permissions')
        ? `Others may read the key, so ssh does not use it: run \`chmod 600 ${file}\`.`
        : `ssh cannot use the key ${file} (${fault}): set identity_file to a private key.`,
    );
  const advice = denialAdvice(words);
  const why = NO_TOKEN.test(words.text) ? undefined : whyWanted(words);
  if (why === undefined) {
    const failure = fail('ssh_denied', { label }, words.asCause());
    return advice === undefined ? failure : advised(failure, advice);
  }
  const wanted = fail('ssh_login_wanted', { label, why }, words.asCause());
  return methodsOf(words)?.includes('gssapi') === true && words.acceptedKey === undefined
    ? advised(wanted, `Run \`kinit\` and try again, or run \`bmuxd login ${label}\`.`)
    : wanted;
}

/** What a person has to do for a login that was denied; undefined when the host has not accepted anything. */
function whyWanted(words: Words): string | undefined {
  const { acceptedKey: key, isPartial, text } = words;
  const methods = methodsOf(words);
  if (isPartial) return `the host wants a second proof${methods === undefined ? '' : ` (${methods})`}`;
  if (key !== undefined)
    return / from agent: /.test(text)
      ? `the SSH agent has not signed with the key ${key}`
      : `the key ${key} needs its passphrase, its PIN or a touch`;
  if (methods !== undefined && !methods.includes('publickey')) return `the host takes ${methods} only`;
  return undefined;
}

function methodsOf({ text }: Words): string | undefined {
  return /Permission denied \(([^)]*)\)/.exec(text)?.[1];
}

const CSH_MISSING = /^\S+: (?:Command not found|Permission denied)\.$/m;

/** Why a command that runs bmux there has ended, from its exit status and words; undefined when they name no reason. */
export function commandFailure(
  route: SshRoute,
  label: string,
  { words, exit }: EndedProcess,
): Failure | undefined {
  const { status } = exit;
  const said = words.text;
  // The csh has one exit status for all failures of its own.
  if (status === 126 || status === 127 || (status === 1 && CSH_MISSING.test(said)))
    return fail('ssh_bmux_missing', { label, path: route.remoteBmuxPath }, words.asCause());
  if (/unrecognized subcommand|unexpected argument|invalid subcommand/.test(said))
    return fail('ssh_bmux_unsuitable', { label, version: 'it does not know the command' }, words.asCause());
  return /failed connecting local IPC endpoint/.test(said)
    ? fail('ssh_server_not_running', { label }, words.asCause())
    : undefined;
}

/** A bridge whose write to the server has failed. It says so in one line or in two. */
const WRITE_FAILED = /bridge stdin copy failed:\s+Broken pipe/;

/** How the bridge of a stream has ended; undefined after a proper end. */
export function bridgeFailure(route: SshRoute, label: string, ended: EndedProcess): SshEnd | undefined {
  const { words, exit } = ended;
  const { status } = exit;
  if (status === 0) return undefined;
  const known = commandFailure(route, label, ended);
  if (known !== undefined) return new SshEnd(known, 'all');
  if (WRITE_FAILED.test(words.text))
    return new SshEnd(fail('ssh_server_ended', { label }, words.asCause()), 'last byte');
  if (status === undefined || status === 255) return new SshEnd(fail('ssh_lost', { label }, words.asCause()));
  return new SshEnd(fail('ssh_bridge_failed', { label, status }, words.asCause()));
}
