// The command lines of ssh: a master, which makes the connection, and sessions, which use it. Options that the user's ssh_config may set, and
// that would make a session something else than a stream, are set here: the first value of an option counts.
import { LIMITS } from '../../base/limits.ts';
import type { Env } from '../../base/paths.ts';
import type { SshRoute } from '../../engine-protocol/plan.ts';

/** s between two questions whether the host is still there, and how many may stay without an answer. */
const ALIVE_S = 5;
const UNANSWERED = 2;

/** What a login depends on. Routes with the same key share their masters, as all shells of a user share a ControlPath. */
export function loginKey(route: SshRoute): string {
  const { host, user, port, identityFile, knownHostsFile, strictHostKeyChecking, jump } = route;
  return JSON.stringify([host, user, port, identityFile, knownHostsFile, strictHostKeyChecking, jump]);
}

/** The master that a session uses: its control socket, or the one of the user's own ssh_config. */
export type MasterPath = { readonly path: string } | 'users own';

/** What tells one from another. */
export function masterKey(place: MasterPath): string {
  return JSON.stringify(place);
}

const NOT_INTERACTIVE = ['-T', '-oBatchMode=yes'];
const NOTHING_ELSE = ['ClearAllForwardings=yes', 'ForwardAgent=no', 'ForwardX11=no', 'Tunnel=no']
  .concat('PermitLocalCommand=no', 'RemoteCommand=none')
  .map((option) => `-o${option}`);

/** A master that runs in the foreground until it is ended. `-v` makes ssh say how far it came, which tells failures apart. */
export function masterArgs(route: SshRoute, path: string, connectMs: number): string[] {
  return ['-v', ...NOT_INTERACTIVE, ...loginOptions(route, path, connectMs), '--', route.host];
}

/**
 * A master whose login may ask the person at the terminal, for a host key that is not known too; then it goes to the background.
 */
export function loginArgs(route: SshRoute, path: string): string[] {
  const strict = route.strictHostKeyChecking ? 'ask' : 'no';
  // The first value of an option counts.
  const asking = ['-f', '-T', '-oBatchMode=no', `-oStrictHostKeyChecking=${strict}`];
  return [...asking, ...loginOptions(route, path, LIMITS.sshLoginMs), '--', route.host];
}

function loginOptions(route: SshRoute, path: string, connectMs: number): string[] {
  const { strictHostKeyChecking, identityFile, knownHostsFile, jump } = route;
  const strict = strictHostKeyChecking ? 'yes' : 'no';
  return [
    '-N',
    '-S',
    path,
    '-oControlMaster=yes',
    '-oControlPersist=no',
    ...NOTHING_ELSE,
    `-oStrictHostKeyChecking=${strict}`,
    `-oConnectTimeout=${String(Math.max(1, Math.ceil(connectMs / 1000)))}`,
    `-oServerAliveInterval=${String(ALIVE_S)}`,
    `-oServerAliveCountMax=${String(UNANSWERED)}`,
    ...(identityFile === undefined ? [] : identityArgs(identityFile)),
    ...(knownHostsFile === undefined ? [] : [`-oUserKnownHostsFile=${knownHostsFile}`]),
    ...(jump === undefined ? [] : ['-J', jump]),
    ...whom(route),
  ];
}

/** With `-i` ssh passes over a file that is not there, but looks for it before it expands `%%`. The value of an option it reads with quotes. */
function identityArgs(file: string): string[] {
  return file.includes('%%') ? [`-oIdentityFile="${file.replace(/["\\]/g, '\\$&')}"`] : ['-i', file];
}

/**
 * A session over a living master. Without that ssh would log in by itself, for each stream, and nobody would know: a proxy that always fails
 * is there for this case. With `-v` ssh says when the session is open.
 */
export function sessionArgs(route: SshRoute, master: MasterPath, command: string): string[] {
  return ['-v', ...NOT_INTERACTIVE, ...NOTHING_ELSE, ...over(route, master), '--', route.host, command];
}

/** Prints what ssh_config makes of the target, and connects to nothing. */
export function configArgs(route: SshRoute): string[] {
  const jump = route.jump === undefined ? [] : ['-J', route.jump];
  return ['-G', ...NOT_INTERACTIVE, ...jump, ...whom(route), '--', route.host];
}

/** Asks whether a master answers at its control socket, or tells it to end. ssh connects to no host for that. */
export function controlArgs(
  route: Pick<SshRoute, 'host' | 'user' | 'port'>,
  master: MasterPath,
  what: 'check' | 'exit',
): string[] {
  return ['-O', what, ...NOT_INTERACTIVE, ...over(route, master), '--', route.host];
}

function over(route: Pick<SshRoute, 'user' | 'port'>, master: MasterPath): string[] {
  const own = master === 'users own' ? [] : ['-S', master.path];
  return [...own, '-oControlMaster=no', '-oProxyCommand=false', ...whom(route)];
}

/** The user's own ControlPath may depend on user and port. */
function whom({ user, port }: Pick<SshRoute, 'user' | 'port'>): string[] {
  return [...(port === undefined ? [] : [`-p${String(port)}`]), ...(user === undefined ? [] : [`-l${user}`])];
}

/**
 * The environment of ssh: that of the daemon, with the agent and the tickets of the caller. Also the ssh of a jump host must ask nobody.
 */
export function sshEnv(
  env: Env,
  { agentSocket, tickets }: { [name in 'agentSocket' | 'tickets']?: string | undefined } = {},
): Record<string, string> {
  const { SSH_AUTH_SOCK: _, ...others } = env;
  const own: Record<string, string> = { SSH_ASKPASS_REQUIRE: 'never' };
  if (agentSocket !== undefined) own['SSH_AUTH_SOCK'] = agentSocket;
  if (tickets !== undefined) own['KRB5CCNAME'] = tickets;
  for (const [name, value] of Object.entries(others)) if (value !== undefined) own[name] ??= value;
  return own;
}
