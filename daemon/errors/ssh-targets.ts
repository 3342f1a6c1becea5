// The rows of the registry for SSH targets. ssh's own words are the causes of these failures.
import { row } from './row.ts';

export const SSH_TARGETS = {
  ssh_program_missing: row(
    [500, 1, 'engine'],
    'the program ssh cannot be started: {why}',
    'Install OpenSSH, and see that bmuxd has it on its PATH.',
  ),
  ssh_config_unusable: row(
    [400, 2, 'request'],
    "ssh cannot use its configuration for SSH target '{label}'",
    'Correct the line of ssh_config that ssh names, or `jump`, `identity_file` or `known_hosts_file` of the target.',
  ),
  ssh_host_unknown: row(
    [502, 1, 'server_gone'],
    'SSH target unreachable: {label}',
    'Its host name leads nowhere: check host, ssh_config and the network.',
  ),
  ssh_unreachable: row(
    [502, 1, 'server_gone'],
    'SSH target unreachable: {label}',
    'Check host, port and network; does sshd run there?',
  ),
  ssh_connect_timeout: row(
    [504, 7, 'timeout'],
    "SSH target '{label}' connect timed out",
    'Check the network, or raise connect_timeout_ms.',
  ),
  ssh_jump_failed: row(
    [502, 1, 'server_gone'],
    "the way to SSH target '{label}' through the jump host {jump} failed",
    'Try `{command}`: the login to the jump host must work without a question, as that to the target does.',
  ),
  ssh_jump_key_unknown: row(
    [502, 6, 'auth'],
    "the host key of the jump host {jump} of SSH target '{label}' is not known",
    'Run `bmuxd login {label}`: ssh shows the fingerprint and asks, and then keeps the key in known_hosts. UserKnownHostsFile of {jump} in ssh_config must be a file for that, not `none`.',
  ),
  ssh_jump_key_changed: row(
    [502, 6, 'auth'],
    "the host key of the jump host {jump} of SSH target '{label}' has changed",
    'If that host has a new key, remove the former one with `ssh-keygen -R`, then run `bmuxd login {label}`. Otherwise another host answers there.',
  ),
  ssh_proxy_failed: row(
    [502, 1, 'server_gone'],
    "the ProxyCommand of SSH target '{label}' failed",
    'Run `bmuxd login {label}`: there it has your terminal and the environment of your shell, otherwise that of bmuxd.',
  ),
  ssh_host_key_unknown: row(
    [502, 6, 'auth'],
    "the host key of SSH target '{label}' is not known",
    'Run `bmuxd login {label}`: ssh shows the fingerprint and asks, and then keeps the key in known_hosts.',
  ),
  ssh_host_key_changed: row(
    [502, 6, 'auth'],
    "the host key of SSH target '{label}' has changed",
    'If the host has a new key, remove the former one with `ssh-keygen -R`, then run `bmuxd login {label}`. Otherwise another host answers there.',
  ),
  ssh_host_key_revoked: row(
    [502, 6, 'auth'],
    "the host key on the way to SSH target '{label}' is marked as revoked",
    'Do not log in: another host may answer there with that key. Whoever has revoked it in known_hosts knows more.',
  ),
  ssh_denied: row(
    [403, 6, 'auth'],
    "SSH target '{label}' denied the login",
    'Load a key that the host accepts (`ssh-add`), or set identity_file. For a password or a code run `bmuxd login {label}`.',
  ),
  ssh_login_wanted: row(
    [403, 6, 'auth'],
    "the login at SSH target '{label}' needs a person: {why}",
    'Run `bmuxd login {label}`, or load the key into the SSH agent (`ssh-add`).',
  ),
  ssh_login_ended: row(
    [502, 6, 'auth'],
    "ssh has ended with status {status}, without a login at '{label}'",
    'ssh has said why.',
  ),
  trust_of_ssh: row(
    [400, 2, 'request'],
    "SSH target '{name}' is trusted by ssh, whose known_hosts holds its host key",
    '`bmuxd login {name}` asks about a host key that is not known; `ssh-keygen -R` removes one.',
  ),
  login_needless: row(
    [400, 2, 'request'],
    "target '{label}' has no login: it is reached over {transport}",
    '`bmuxd login` is for SSH targets. `bmuxd trust add` is for TLS gateways.',
  ),
  ssh_logins_refused: row(
    [503, 1, 'full'],
    "SSH target '{label}' takes no login just now",
    'Try again in a moment. Its sshd bounds the logins under way (MaxStartups), and may shut out who has failed to log in.',
  ),
  ssh_login_failed: row(
    [502, 1, 'server_gone'],
    "the login at SSH target '{label}' failed",
    'Try `ssh` to it in a terminal.',
  ),
  ssh_session_refused: row(
    [503, 1, 'full'],
    "SSH target '{label}' allows no session",
    'Raise MaxSessions in its sshd_config, or end streams there.',
  ),
  ssh_bmux_missing: row(
    [502, 1, 'request'],
    "bmux was not found on SSH target '{label}' as {path}",
    'Set remote_bmux_path to its whole path: a command of ssh has a shorter PATH than a login.',
  ),
  ssh_bmux_unsuitable: row(
    [502, 1, 'epoch'],
    "the bmux of SSH target '{label}' cannot serve a bridge: {version}",
    'Install a newer bmux there, or set remote_bmux_path to one.',
  ),
  ssh_shell_prints: row(
    [502, 1, 'request'],
    "the shell of SSH target '{label}' prints before the protocol: {line}",
    'Let its rc files print only in interactive shells: `ssh HOST true` must print nothing. An account without a shell (nologin, SFTP alone) cannot be used.',
  ),
  ssh_server_not_running: row(
    [503, 1, 'refused'],
    "no bmux server runs on SSH target '{label}'",
    'Start it there (`bmux server start --daemon`), or set server_start_mode = "auto".',
  ),
  ssh_server_start_failed: row(
    [502, 1, 'server_gone'],
    "the bmux server on SSH target '{label}' could not be started",
    'Run `bmux server start` there.',
  ),
  ssh_bridge_failed: row(
    [502, 1, 'server_gone'],
    "the bridge on SSH target '{label}' has ended with status {status}",
    'Try again. `bmux server status` there says whether the server runs.',
  ),
  ssh_server_ended: row(
    [502, 1, 'server_gone'],
    "the bmux server on SSH target '{label}' has ended",
    'Try again: the next command starts one, unless server_start_mode says otherwise.',
  ),
  ssh_lost: row(
    [502, 1, 'server_gone'],
    "the SSH connection to '{label}' was lost",
    'Try again; a new connection is made.',
  ),
} as const;
