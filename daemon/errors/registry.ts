// The registry of errors: every failure that bmuxd reports, as data. Codes are stable and never reused.
// Where bmux has a text, it is used word for word (docs/bmux-protocol.md, "Error texts"); `{name}` is replaced by a value.
import { row, type ErrorRow } from './row.ts';
import { SSH_TARGETS } from './ssh-targets.ts';

export type { ErrorRow } from './row.ts';

const NOT_RUNNING =
  'bmux server is not running (IPC endpoint unavailable).\nRun `bmux server start --daemon`.\nTroubleshooting: if the server is running in another shell, ensure both processes use the same runtime directory (`XDG_RUNTIME_DIR`/`TMPDIR`). On Unix, a stale socket file can also cause connection refused; remove stale runtime files or run `bmux server stop` and retry.';
const LOST =
  'bmux error: server connection lost unexpectedly.\nThe server may have crashed or been stopped, or a hosted bridge could not reach its local IPC endpoint.\nLocal CLI runtime: {runtime}\nLocal CLI IPC endpoint: {socket}\nCheck `bmux --runtime {runtime} server status` on this machine and host logs on the remote machine.';

export const REGISTRY = {
  // Requests
  request_malformed: row(
    [400, 2, 'request'],
    'not a request that bmuxd understands: {why}',
    'Send HTTP/1.1 as docs/control-socket.md describes.',
  ),
  request_too_large: row(
    [431, 2, 'request'],
    'the request headers are larger than {limit} bytes',
    'Send a smaller Bmux-Request header.',
  ),
  request_timeout: row(
    [408, 7, 'request'],
    'the request did not arrive whole within {ms} ms',
    'Send the whole request at once.',
  ),
  request_body_too_large: row(
    [413, 2, 'request'],
    'the request body is larger than {limit} bytes',
    'Send no body: what a request says is in its path and its headers.',
  ),
  request_header_missing: row(
    [400, 2, 'request'],
    'the Bmux-Request header is missing',
    'Send one Bmux-Request header with a JSON object.',
  ),
  request_json_invalid: row(
    [400, 2, 'request'],
    'the Bmux-Request header is not JSON: {why}',
    'Send one JSON object, escaped to ASCII.',
  ),
  request_field_invalid: row(
    [400, 2, 'request'],
    'the request field {field} is not valid: {why}',
    'See docs/control-socket.md for the fields of a request.',
  ),
  upgrade_required: row(
    [426, 2, 'request'],
    'POST /v1/streams wants `Connection: Upgrade` and `Upgrade: bmux-stream/1`',
    'Send both headers.',
  ),
  wrong_socket: row(
    [421, 2, 'request'],
    'streams are opened on another socket than this one: {socket}',
    'Send the same request there.',
  ),
  upgrade_unsupported: row(
    [400, 2, 'request'],
    'cannot upgrade {method} {path} to {protocol}',
    'Only POST /v1/streams upgrades, and only to bmux-stream/1.',
  ),
  route_unknown: row(
    [404, 2, 'request'],
    'no such resource: {method} {path}',
    'See docs/control-socket.md for what there is.',
  ),
  method_unknown: row(
    [405, 2, 'request'],
    '{method} is not a method of {path}; it has {allow}',
    'Use one of the methods that the header Allow names.',
  ),
  usage: row([400, 2, 'request'], '{why}', 'Run `{command} --help`.'),

  // Policy
  cross_slot_refused: row(
    [409, 5, 'policy'],
    'cross-slot attach refused: this CLI is running under slot {client} but the server in this runtime dir was started under slot {serverQuoted}.\nRun `bmux-{server}` to talk to that server, or stop it first (`bmux-{server} server stop`) and start a fresh server under slot {client}.',
    'Use the client of the slot that the server runs under.',
  ),
  cross_slot_unrecorded: row(
    [409, 5, 'policy'],
    'cross-slot attach refused: this CLI is running under slot {client} but the existing server in this runtime dir has no slot recorded (legacy / pre-slots install).\nStop the existing server, then run the slot-aware CLI fresh.',
    'Run `bmux server stop`, then start the server under the slot.',
  ),
  stale_build_refused: row(
    [409, 5, 'policy'],
    '{message}',
    'Restart the server, or set behavior.stale_build_action to "warn" or "ignore".',
  ),
  slot_unknown: row(
    [409, 5, 'policy'],
    'active slot {slot} is not declared in the slot manifest (known: [{known}]). Add it to slots.toml or unset BMUX_SLOT_NAME.',
    'Declare the slot, or unset BMUX_SLOT_NAME.',
  ),
  server_meta_conflict: row(
    [409, 5, 'policy'],
    'refusing to start server under slot {client}: another live server (pid={pid}) is already running here under slot {serverQuoted}. Stop it first with `bmux-{server} server stop`.',
    'Stop the other server first.',
  ),
  server_meta_unparsable: row(
    [500, 1, 'request'],
    'failed parsing server metadata file {path}; remove stale file and retry',
    'Remove the file; a running server writes it again at its next start.',
  ),
  server_meta_unreadable: row(
    [500, 1, 'request'],
    'failed reading server metadata file {path}',
    'Check the permissions of the file.',
  ),
  server_meta_unwritable: row(
    [500, 1, 'request'],
    'failed writing server metadata file {path}',
    'Check the permissions of the runtime dir and the free space.',
  ),
  server_meta_unremovable: row(
    [500, 1, 'request'],
    'failed removing server metadata file {path}',
    'Remove the file by hand.',
  ),
  runtime_dir_uncreatable: row(
    [500, 1, 'request'],
    'failed creating runtime dir {path}',
    'Check the permissions of its parent folder.',
  ),
  executable_unreadable: row(
    [500, 1, 'request'],
    'failed reading executable metadata {path}',
    'Check that the file exists and can be read.',
  ),

  // Config
  config_unloadable: row(
    [500, 1, 'request'],
    'failed loading bmux config',
    'Mend the file that the cause names.',
  ),
  config_syntax: row([500, 1, 'request'], '{file}:{line}: not TOML: {why}', 'Mend that line.'),
  config_value: row(
    [500, 1, 'request'],
    '{file}:{line}: {key}: {why}',
    'Give the key one of the values it takes.',
  ),
  config_missing: row(
    [500, 1, 'request'],
    'the config file {file} that {source} names does not exist',
    'Create the file or unset {source}.',
  ),
  composition_invalid: row(
    [500, 1, 'request'],
    '{file}:{line}: [composition]: {why}',
    'Mend the [composition] table.',
  ),
  config_key_unknown: row(
    [500, 1, 'request'],
    '{file}:{line}: {key}: bmux has no such key, and ignores it{suggestion}',
    'Correct the key, or remove it.',
  ),
  settings_invalid: row(
    [500, 1, 'request'],
    '{file}:{line}: {key}: {why}',
    'Mend bmuxd.toml: docs/settings.md lists what it takes.',
  ),
  settings_missing: row(
    [404, 1, 'request'],
    'BMUXD_CONFIG names {path}, which is not there',
    'Correct BMUXD_CONFIG or unset it, or make the file. Without it, every setting has its default.',
  ),
  slots_invalid: row([500, 1, 'request'], '{file}:{line}: {key}: {why}', 'Mend the slot manifest.'),
  slot_variable_unset: row(
    [500, 1, 'request'],
    'environment variable {variable} is not set, in {field} of slot {slot} ({file})',
    'Set the variable, or give it a default: ${VAR:-default}.',
  ),
  slot_dirs_shared: row(
    [500, 1, 'request'],
    'slots {first} and {second} share the runtime dir {path} ({file})',
    'Give each slot a runtime_dir of its own.',
  ),
  file_unreadable: row([500, 1, 'request'], 'failed reading {path}', 'Check the permissions of the file.'),
  auth_state_unparsable: row(
    [500, 6, 'auth'],
    'failed parsing auth state {path}',
    'Remove the file and sign in again.',
  ),
  auth_state_insecure: row(
    [500, 6, 'auth'],
    'the access token in {path} is not used: {part} {why}',
    'If it is yours, run `chmod 600 {path}` and `chmod go-w` on its folder; else remove it and sign in again.',
  ),

  // Targets
  share_link_unknown: row(
    [404, 1, 'request'],
    "share link not found: bmux://{name}; run 'bmux share' or 'bmux hosts'",
    'Add the link to connections.share_links, or sign in.',
  ),
  share_link_loop: row(
    [409, 1, 'request'],
    'share link bmux://{name} leads back to itself ({way})',
    'Let connections.share_links end at a target that is no share link of the loop.',
  ),
  control_plane_unreachable: row(
    [502, 1, 'server_gone'],
    'failed contacting {url}',
    'Check the network, connections.control_plane_url and BMUX_CONTROL_PLANE_URL.',
  ),
  share_lookup_unparsable: row(
    [502, 1, 'request'],
    'failed parsing share lookup response',
    'Check that connections.control_plane_url is a bmux control plane.',
  ),
  tls_host_missing: row(
    [400, 1, 'request'],
    "TLS target '{name}' requires host",
    'Set connections.targets.{name}.host.',
  ),
  iroh_endpoint_missing: row(
    [400, 1, 'request'],
    "iroh target '{name}' requires endpoint_id",
    'Set connections.targets.{name}.endpoint_id.',
  ),
  target_unknown: row(
    [404, 2, 'request'],
    "target '{name}' is not configured{near}",
    '`bmuxd targets` lists the targets of this environment.',
  ),
  target_gone: row(
    [404, 2, 'request'],
    "target '{name}' was configured and is gone from the config",
    'Put it back into bmux.toml, or choose one of `bmuxd targets`. Until bmuxd is restarted, this name never means the local server.',
  ),
  ssh_port_invalid: row(
    [400, 1, 'request'],
    "invalid SSH port in target '{target}'",
    'Give a port from 1 to 65535.',
  ),
  ssh_host_invalid: row(
    [400, 1, 'request'],
    "SSH target '{target}' has no host or user that ssh takes: '{value}'",
    'Write [user@]host[:port], without spaces, quotes and signs of a shell.',
  ),
  tls_port_invalid: row(
    [400, 1, 'request'],
    "invalid TLS port in target '{target}'",
    'Give a port from 0 to 65535.',
  ),
  tls_inline_host_missing: row(
    [400, 1, 'request'],
    'TLS target must include a host',
    'Write tls://HOST[:PORT].',
  ),
  hosted_host_missing: row(
    [400, 1, 'request'],
    'hosted target must include a host',
    'Write https://HOST[:PORT].',
  ),
  iroh_inline_endpoint_missing: row(
    [400, 1, 'request'],
    'iroh target must include an endpoint id',
    'Write iroh://ENDPOINT_ID[?relay=URL&auth=ssh&compression=auto|none|zstd].',
  ),
  iroh_compression_invalid: row(
    [400, 1, 'request'],
    "unsupported iroh compression mode '{value}' (expected auto|none|zstd)",
    'Write compression=auto, none or zstd.',
  ),
  iroh_addr_invalid: row([400, 1, 'request'], 'addr must be a socket address', 'Write addr=IP:PORT.'),

  // Transports
  server_not_running: row([503, 1, 'refused'], NOT_RUNNING, 'Start the server, or name another target.'),
  server_socket_denied: row(
    [503, 6, 'auth'],
    'permission denied on the server socket {path}',
    'Check the owner and the mode of the socket and its folder.',
  ),
  server_socket_insecure: row(
    [503, 6, 'auth'],
    'other users could take the place of the server at {path}: {part} {why}',
    'If it is yours, run `chmod go-w` on it; else set BMUX_RUNTIME_DIR to a folder of yours and start the server there.',
  ),
  server_socket_failed: row(
    [503, 1, 'server_gone'],
    'cannot connect to the server socket {path}',
    'Check the path and the server behind it.',
  ),
  tls_unreachable: row(
    [502, 1, 'server_gone'],
    'TLS target unreachable: {label}',
    'Check host, port and network; is the gateway running?',
  ),
  tls_connect_timeout: row(
    [504, 7, 'timeout'],
    "TLS target '{label}' connect timed out",
    'Check the network, or raise connect_timeout_ms.',
  ),
  tls_server_name_invalid: row(
    [400, 1, 'request'],
    "invalid TLS server_name '{serverName}'",
    'Set server_name to a DNS name or an IP address.',
  ),
  tls_handshake_failed: row(
    [502, 6, 'tls_trust'],
    "TLS handshake failed for target '{label}'",
    'Set ca_file to the certificate of the gateway, and server_name to a name in it.',
  ),
  tls_identity_changed: row(
    [502, 6, 'tls_trust'],
    "TLS handshake failed for target '{label}'",
    'If the gateway has a new certificate, run `bmuxd trust remove {key}`, then `bmuxd trust add {key}`. Otherwise another server answers there.',
  ),
  known_gateways_unreadable: row(
    [500, 6, 'tls_trust'],
    'failed reading known gateways store {path}',
    'Check the permissions of the file.',
  ),
  known_gateways_unparsable: row(
    [500, 6, 'tls_trust'],
    'failed parsing known gateways store {path}',
    'Mend the file, or remove it and trust the gateways again.',
  ),
  known_gateways_unwritable: row(
    [500, 6, 'tls_trust'],
    'failed writing known gateways store {path}',
    'Check the permissions of the folder and the free space.',
  ),
  fingerprint_differs: row(
    [409, 6, 'tls_trust'],
    'the TLS gateway {key} does not have the fingerprint {expected}, but {received}',
    'Ask whoever runs the gateway. Another server may answer there.',
  ),
  pin_declared: row(
    [409, 6, 'tls_trust'],
    'the config declares another pin for the TLS gateway {key}: {pin}',
    'Change connections.tls_trust.known_gateways in the config: it comes before the store. `bmuxd doctor` shows its file.',
  ),
  pin_unknown: row(
    [404, 2, 'request'],
    'local TLS trust pin not found for {key}',
    '`bmuxd trust list` shows the pins{near}.',
  ),
  pin_gone_live: row(
    [409, 6, 'tls_trust'],
    'the pin of TLS gateway {key} was removed or changed; streams that were opened before go on: {streams}',
    'Nothing is opened with that pin any more. `bmuxd streams end ID` ends a stream.',
  ),
  trust_declined: row([409, 1, 'tls_trust'], 'TLS gateway trust declined for {key}', 'Nothing was changed.'),
  trust_unasked: row(
    [409, 6, 'tls_trust'],
    'bmux TLS gateway {key} is unknown; refusing to prompt without an interactive terminal',
    'Give --fingerprint with the fingerprint that you expect, or --yes to trust what is presented.',
  ),
  tls_alert: row(
    [502, 6, 'tls_trust'],
    "TLS gateway of target '{label}' refused the connection: received fatal alert: {name}",
    'The log of the gateway says why. bmux presents no client certificate, and speaks TLS 1.2 and 1.3.',
  ),
  tls_handshake_timeout: row(
    [504, 7, 'timeout'],
    "TLS handshake for target '{label}' timed out",
    'Is it a TLS gateway that listens there? Else raise connect_timeout_ms.',
  ),
  tls_roots_missing: row(
    [500, 6, 'tls_trust'],
    "no TLS trust roots available for target '{label}'; install system certs or set ca_file",
    'Install the system certificates (ca-certificates). Where SSL_CERT_FILE or SSL_CERT_DIR of the daemon is set, it replaces them: correct it.',
  ),
  server_untrusted: row(
    [502, 6, 'tls_trust'],
    '{host} is not trusted: {why}',
    "Add the CA of {host} to the system's certificates, or set SSL_CERT_FILE for bmuxd (it replaces them); `bmuxd doctor` shows which roots count.",
  ),
  ca_unreadable: row([500, 6, 'tls_trust'], 'failed reading CA bundle {path}', 'Check ca_file.'),
  ca_unparsable: row(
    [500, 6, 'tls_trust'],
    'failed parsing CA bundle {path}',
    'ca_file must hold PEM certificates.',
  ),
  ca_unaddable: row(
    [500, 6, 'tls_trust'],
    'failed adding CA certificate from {path}',
    'ca_file must hold valid X.509 certificates.',
  ),
  iroh_bind_failed: row(
    [500, 1, 'engine'],
    'failed binding iroh client endpoint',
    'Check that this user may open UDP sockets.',
  ),
  iroh_unreachable: row(
    [502, 1, 'server_gone'],
    'iroh target unreachable: {label}',
    'Is the host up? An endpoint id changes when the host restarts.',
  ),
  iroh_dns_failed: row(
    [502, 1, 'dns'],
    'iroh target unreachable: {label}',
    'A host is found by its endpoint id in DNS ({zone}), which does not answer here. Check the network and its DNS, or give the target relay_url or iroh_ip_addr.',
  ),
  iroh_connect_timeout: row(
    [504, 7, 'timeout'],
    "iroh target '{label}' connect timed out",
    'Is the host up? An endpoint id changes when the host restarts; else raise connect_timeout_ms.',
  ),
  iroh_relay_unreachable: row(
    [504, 7, 'relay'],
    "iroh target '{label}' connect timed out",
    'The relay {url} cannot be reached. Check the network and the relay URL of the target.',
  ),
  iroh_silent: row(
    [504, 7, 'server_gone'],
    'iroh target unreachable: {label}',
    'The host has answered on this connection before and does not now. Is it still running? An endpoint id changes when the host restarts.',
  ),
  iroh_endpoint_invalid: row(
    [400, 1, 'request'],
    "invalid iroh endpoint id '{id}'",
    'Copy the endpoint id from the connect URL of the host.',
  ),
  iroh_relay_invalid: row(
    [400, 1, 'request'],
    "invalid iroh relay url '{url}'",
    'Give an http or https URL.',
  ),
  iroh_stream_failed: row(
    [502, 1, 'server_gone'],
    'failed opening iroh stream',
    'Try again; the connection to the host was lost.',
  ),
  ssh_auth_failed: row(
    [403, 6, 'auth'],
    'iroh SSH auth handshake failed',
    'Load a key that the host lists into the SSH agent (`ssh-add`).',
  ),
  ssh_auth_rejected: row(
    [403, 6, 'auth'],
    'iroh SSH auth rejected: {why}',
    'Add the key on the host: `bmux access add`.',
  ),
  ssh_auth_error: row(
    [403, 6, 'auth'],
    'iroh SSH auth failed: {why}',
    'Check SSH_AUTH_SOCK and the agent behind it.',
  ),
  ssh_auth_no_key: row(
    [403, 6, 'auth'],
    'no suitable SSH agent key available for host allowlist; load a matching key into ssh-agent',
    'Run `ssh-add` with a key that the host lists.',
  ),
  ssh_auth_timeout: row(
    [504, 7, 'auth'],
    "iroh SSH auth for target '{label}' timed out",
    'Is the SSH agent waiting for a confirmation? Does the host demand SSH auth?',
  ),

  // Hello
  wire_epoch_mismatch: row(
    [409, 1, 'epoch'],
    'bmux error: incompatible IPC wire epoch (client={client}, server={server}). Restart or update the server so both sides share a wire epoch.',
    'Use a bmux of the same generation on both sides.',
  ),
  revision_mismatch: row(
    [409, 1, 'epoch'],
    'bmux error: no overlapping protocol revision (client={clientMin}-{clientMax}, server={serverMin}-{serverMax}). Update either side to overlapping revisions.',
    'Use a bmux of the same generation on both sides.',
  ),
  capabilities_missing: row(
    [409, 1, 'epoch'],
    'bmux error: missing shared core protocol capabilities: {list}. Update server/client so core contracts align.',
    'Use a bmux of the same generation on both sides.',
  ),
  protocol_mismatch: row(
    [409, 1, 'epoch'],
    'bmux error: client/server protocol mismatch. Restart with `bmux server stop` and retry.',
    'Use a bmux of the same generation on both sides.',
  ),
  connection_lost: row(
    [502, 1, 'server_gone'],
    LOST,
    'Is the bmux server of this target running? It may be full: it takes 64 connections in all (`bmux list-clients`).',
  ),
  hello_timeout: row(
    [504, 7, 'timeout'],
    "bmux error: no answer to the Hello from target '{label}' within {ms} ms.",
    'Check the server there, and the compression setting of the target. Over SSH, see that no rc file reads stdin.',
  ),
  hello_silent_auth: row(
    [504, 7, 'timeout'],
    "bmux error: no answer to the Hello from target '{label}' within {ms} ms.",
    'The host may demand SSH auth: set iroh_ssh_auth = true (or auth=ssh in the URL).',
  ),
  optimistic_open_failed: row(
    [502, 1, 'server_gone'],
    'bmux error: the server no longer answers the Hello as it did before: {why}.',
    'Run the command again: the server is asked anew.',
  ),
  hello_closed_auth: row(
    [502, 1, 'server_gone'],
    LOST,
    'The host closed the connection. It may demand SSH auth: set iroh_ssh_auth = true (or auth=ssh in the URL).',
  ),
  hello_refused: row(
    [502, 1, 'server_gone'],
    'bmux error: the server answered the Hello with an error: {message}',
    'Look at the log of the server.',
  ),
  peer_malformed: row(
    [502, 1, 'epoch'],
    'bmux error: the server of target {label} sent what is not the IPC protocol: {why}',
    'Is it a bmux gateway that listens there?',
  ),

  // Principal
  principal_dir_uncreatable: row(
    [500, 1, 'request'],
    'failed creating principal id dir {path}',
    'Check the permissions of the data dir.',
  ),
  principal_unreadable: row(
    [500, 1, 'request'],
    'failed reading principal id file {path}',
    'Check the permissions of the file.',
  ),
  principal_unwritable: row(
    [500, 1, 'request'],
    'failed writing principal id file {path}',
    'Check the permissions of the data dir and the free space.',
  ),
  principal_invalid: row(
    [500, 1, 'request'],
    'invalid principal id in {path}: {content}',
    'Put a UUID into the file, or remove it to get a new one.',
  ),

  // Frames, blocks and lines that a peer must not send
  frame_too_large: row(
    [502, 1, 'epoch'],
    'a frame of {length} bytes is over the limit of {limit}',
    'Is it a bmux gateway that listens there?',
  ),
  frame_invalid: row(
    [502, 1, 'epoch'],
    'not a valid frame: {why}',
    'Is it a bmux gateway that listens there?',
  ),
  block_too_large: row(
    [502, 1, 'epoch'],
    'a compressed block claims {length} bytes, over the limit of {limit}',
    'Check the compression setting of the target.',
  ),
  block_invalid: row(
    [502, 1, 'epoch'],
    'not a valid compressed block: {why}',
    'Check the compression setting of the target.',
  ),
  block_truncated: row(
    [502, 1, 'epoch'],
    'the stream ended inside a compressed block',
    'Look at the log of the gateway.',
  ),
  line_invalid: row(
    [502, 6, 'auth'],
    'not a valid line of the SSH auth exchange: {why}',
    'Is it a bmux host of the same generation?',
  ),

  // The daemon itself
  // These two rows have the exit status that a shell uses (POSIX.1-2024 XCU 2.8.2).
  command_missing: row(
    [404, 127, 'request'],
    'cannot run {command}: there is no such command',
    'Check the name and the PATH.',
  ),
  command_unrunnable: row(
    [500, 126, 'request'],
    'cannot run {command}: {why}',
    'Check that it is a program of yours.',
  ),
  daemon_not_running: row(
    [503, 3, 'engine'],
    'bmuxd is not running (no daemon on {socket}).',
    'Start it: `bmuxd start`; in the foreground: `bmuxd run`.',
  ),
  nothing_to_stop: row(
    [503, 3, 'engine'],
    'bmuxd is not running (no daemon on {socket}).',
    'There is nothing to stop: no daemon runs, and no engine has streams.',
  ),
  service_manager_failed: row(
    [500, 1, 'engine'],
    '`{command}` has failed: {why}',
    'Run that command by hand. Without a service manager of this user (a login by su, a container), use `bmuxd start`.',
  ),
  service_file_unwritable: row(
    [500, 1, 'engine'],
    '{path} of the service cannot be changed: {why}',
    'Check who owns it and its folders (`ls -ld`), and whether its disk is writable and has room. Then run the command again.',
  ),
  service_unsupported: row(
    [400, 2, 'request'],
    '{why}',
    'Use `bmuxd start`, or `bmuxd install --stable-node` where a path is at fault.',
  ),
  daemon_unstarted: row(
    [500, 1, 'engine'],
    'bmuxd could not be started: {why}',
    'Mend what is named above, or look at {log} (`bmuxd logs`).',
  ),
  log_on_stderr: row(
    [409, 1, 'request'],
    'the log of this bmuxd goes to its stderr',
    'Look where it was started, or start it with `bmuxd start` or as a service.',
  ),
  log_missing: row([404, 1, 'request'], 'there is no log yet: {path}', 'Start bmuxd: `bmuxd start`.'),
  log_unreadable: row(
    [500, 1, 'request'],
    'the log {path} cannot be read: {why}',
    'Check who owns it and what it is. bmuxd makes a new one when it is removed.',
  ),
  daemon_not_answering: row(
    [504, 7, 'engine'],
    'bmuxd{who} does not answer on {socket}{since}.',
    'Continue its process if it was stopped (`kill -CONT {pid}`), or end it with `kill -9 {pid}` and start it again; live streams go on.',
  ),
  daemon_start_late: row(
    [503, 7, 'engine'],
    'bmuxd does not run yet: nobody answers on {socket}, which a service manager holds while it starts bmuxd.',
    'Try again in a moment. If it stays, look why bmuxd does not start (`bmuxd service status`, `bmuxd logs`), or which other program has that socket.',
  ),
  daemon_lost: row(
    [503, 1, 'engine'],
    'bmuxd closed the connection before it answered.',
    'Try again; if it stays, look at the log of bmuxd (`bmuxd logs`).',
  ),
  daemon_replaced: row(
    [409, 1, 'engine'],
    'bmuxd with pid {pid} has ended, but another one, with pid {next}, has taken over meanwhile and runs; live streams may go on.',
    'To end that one and all streams, run `bmuxd stop` again.',
  ),
  daemon_already_running: row(
    [409, 1, 'engine'],
    'bmuxd is already running: pid {pid}, version {version}, since {since}.',
    'Use it, or end it first: `bmuxd stop`.',
  ),
  control_socket_mismatch: row(
    [409, 1, 'engine'],
    'BMUXD_SOCKET names {socket}, where {there}; the daemon of the runtime dir {dir} {here}',
    'Run `unset BMUXD_SOCKET`; or, if it is meant, set BMUXD_RUNTIME_DIR to the runtime dir of its daemon.',
  ),
  target_socket_gone: row(
    [404, 1, 'request'],
    'BMUX_RUNTIME_DIR names the target socket of {target}, which is not there: {path}',
    'Start bmuxd if it does not run (`bmuxd start`); if the target is gone, run `eval "$(bmuxd env --unset)"`.',
  ),
  daemon_starting: row(
    [409, 1, 'engine'],
    'another bmuxd is just starting in {dir}, and does not come to an end.',
    'Try again; if it stays, remove {dir}/start.lock.',
  ),
  control_socket_denied: row(
    [503, 6, 'auth'],
    'permission denied on the control socket {socket}',
    'Check BMUXD_RUNTIME_DIR, and who owns the socket and its folder.',
  ),
  control_socket_unbindable: row(
    [500, 1, 'engine'],
    'cannot listen on the control socket {socket}',
    'Check what is in the way there, or set BMUXD_RUNTIME_DIR to another folder.',
  ),
  activation_invalid: row(
    [500, 1, 'engine'],
    'LISTEN_FDS names a socket that bmuxd cannot listen on: {why}',
    'Let the socket units hold one listening stream socket each (systemd/bmuxd.socket, systemd/bmuxd-streams.socket).',
  ),
  daemon_foreign: row(
    [502, 1, 'engine'],
    'what listens on {socket} is not bmuxd: {why}',
    'Check BMUXD_SOCKET.',
  ),
  node_unsupported: row(
    [500, 1, 'engine'],
    'Node {version} lacks what bmuxd uses of it: {missing}',
    'Run bmuxd with a release of Node that it supports; README.md names them.',
  ),
  version_mismatch: row(
    [502, 1, 'engine'],
    '{own} talks to {other}, which answers in another form',
    'Restart the daemon (`bmuxd restart`; live streams go on) so that both are of one version.',
  ),
  peers_unchecked: row(
    [500, 1, 'engine'],
    'peers are not checked: the kernel cannot be asked who connects ({why}).',
    'Install bmuxd with all its packages (`npm install --include=optional`), in a folder whose file system lets programs run (no noexec). Until then a connection is taken only while the folders of the sockets are closed to others.',
  ),
  zstd_unavailable: row(
    [500, 1, 'engine'],
    'compressed streams cannot be opened: Node {version} has no zstd, and the package zstd-napi does not load ({why})',
    'Run bmuxd with Node 22.15 or newer. Or install it again where install scripts may run (`--allow-scripts=zstd-napi` with npm 12, `--allow-build=zstd-napi` with pnpm), with a C++ compiler and without noexec. Targets without compression work.',
  ),
  iroh_unavailable: row(
    [500, 1, 'engine'],
    'iroh hosts cannot be reached: the package @number0/iroh does not load ({why})',
    'Install bmuxd again with optional packages (`--include=optional`), in a folder whose file system lets programs run (no noexec). There is none for macOS on Intel. Other targets work.',
  ),
  node_options_unusable: row(
    [500, 1, 'engine'],
    'the engine runs without NODE_OPTIONS: no engine can be started with them ({why})',
    'Mend NODE_OPTIONS, or take it out of the environment of bmuxd, and start bmuxd again.',
  ),
  path_insecure: row(
    [500, 6, 'auth'],
    'other users could take the place of bmuxd: {part} {why}',
    'If it is yours, run `chmod go-w` on it; else set BMUXD_RUNTIME_DIR to a folder that only you can replace.',
  ),
  runtime_dir_gone: row(
    [503, 1, 'engine'],
    'the runtime dir {path} is gone, and cannot be made again: {why}',
    'Log in again, or make the folder above it again. bmuxd goes on by itself then; live streams go on meanwhile.',
  ),
  runtime_dir_unwritable: row(
    [503, 1, 'engine'],
    'no file can be made in the runtime dir {path}: {why}',
    'Make room on its disk, mount it writable again, or run `chmod 700` on it. bmuxd goes on by itself then; live streams go on meanwhile.',
  ),
  runtime_dir_insecure: row(
    [500, 6, 'auth'],
    'the folder {path} {why}',
    'If it is yours alone, run `chmod 700 {path}`; else remove it, or set BMUXD_RUNTIME_DIR to a folder of yours.',
  ),
  socket_path_too_long: row(
    [500, 1, 'request'],
    'the socket path {path} is {length} bytes long; the system takes {limit}',
    'Set BMUXD_RUNTIME_DIR to a shorter path.',
  ),
  engine_lost: row(
    [503, 1, 'engine'],
    'the engine process of bmuxd ended while it opened the stream ({why}).',
    'Try again: another engine is started within a second.',
  ),
  engine_silent: row(
    [504, 1, 'engine'],
    'the engine process {generation} of bmuxd is not answering; its live streams may stand still.',
    'Continue it if it was stopped (`kill -CONT PID`), or end it (`kill -9 PID`): its streams are lost then.',
  ),
  engine_stuck: row(
    [504, 7, 'engine'],
    'the engine process of bmuxd that took the request does not answer.',
    'Try again: another one takes over. If it was stopped, continue it (`kill -CONT PID`; `bmuxd status` names it).',
  ),
  engine_unavailable: row(
    [503, 1, 'engine'],
    'no engine process of bmuxd is ready: {why}',
    'Try again in a second; if it stays, look at the log of bmuxd (`bmuxd logs`).',
  ),
  home_unknown: row(
    [500, 2, 'request'],
    'the home folder is not known: HOME is not set, and this user has no entry in the password database',
    'Set HOME.',
  ),
  home_relative: row(
    [500, 2, 'request'],
    'HOME is {home}, which is not an absolute path',
    'Set HOME to the absolute path of the home folder.',
  ),
  files_exhausted: row(
    [503, 1, 'full'],
    'no more files can be opened: {why}',
    'Raise the limit (`ulimit -n`, `LimitNOFILE=` of the service) to 1024 or more.',
  ),
  files_few: row(
    [500, 1, 'full'],
    '{who} may open only {limit} files',
    'Raise the limit (`ulimit -n` of the shell, `LimitNOFILE=` of the service) to 1024 or more, then start bmuxd again if it runs.',
  ),
  log_unwritable: row(
    [500, 1, 'engine'],
    'the log cannot be written: {why}; lines lost so far: {count}',
    'Make room on its disk, or look at what reads it. bmuxd tries again by itself.',
  ),
  state_unwritable: row(
    [500, 1, 'engine'],
    '{path} cannot be written: {why}',
    'Make room on its disk, or check who may write there. bmuxd goes on without it and tries again by itself.',
  ),
  control_error: row(
    [500, 1, 'engine'],
    'unexpected errors in the control process of bmuxd: {count} so far, the last one: {why}',
    'bmuxd goes on. Look at its log (`bmuxd logs`); under a limit of address space (`ulimit -v`, `LimitAS=`) raise that limit.',
  ),
  control_broken: row(
    [500, 1, 'engine'],
    'the control process of bmuxd ends after {count} unexpected errors, the last one: {why}',
    'Start bmuxd again, if its service does not do that; live streams go on. Please report it with the log of bmuxd (`bmuxd logs`).',
  ),
  control_unavailable: row(
    [503, 3, 'engine'],
    'the control process of bmuxd is gone, and no other one was started in time',
    'Start bmuxd again (bmuxd run, or its service); live streams go on meanwhile.',
  ),
  not_ready: row(
    [503, 1, 'engine'],
    'bmuxd is not ready: {why}',
    'Wait a moment and ask again. If it lasts: `bmuxd status` says more.',
  ),
  service_path_gone: row(
    [503, 1, 'engine'],
    'the service {file} starts {path}, which is gone',
    'Run `bmuxd install` again, with the same options.',
  ),
  service_outdated: row(
    [503, 1, 'engine'],
    'the service {file} starts {what}',
    'Run `bmuxd install` again, with the same options.',
  ),
  service_failed: row(
    [503, 1, 'engine'],
    'the service {unit} has failed',
    'Look at `bmuxd logs`, then run `systemctl --user reset-failed {unit}` and `systemctl --user start {unit}`.',
  ),
  roots_missing: row(
    [502, 1, 'tls_trust'],
    'SSL_CERT_FILE or SSL_CERT_DIR names {path}, which holds no trusted certificate: {why}',
    'Unset the variable for bmuxd, or let it name PEM files with the certificates of authorities.',
  ),
  proxy_unusable: row(
    [502, 1, 'server_gone'],
    'the proxy of {variable}, over which {host} is asked for share links, cannot be used',
    'Mend or unset {variable}, or add {host} to NO_PROXY; then run `bmuxd restart`.',
  ),
  agent_missing: row(
    [502, 6, 'auth'],
    'target {target} wants SSH auth, and SSH_AUTH_SOCK is not set',
    'Start an SSH agent (`eval "$(ssh-agent)"`) and add a key with `ssh-add`.',
  ),
  agent_empty: row(
    [502, 6, 'auth'],
    'target {target} wants SSH auth, and the SSH agent at {socket} holds no Ed25519 or RSA key',
    'Add a key that the host accepts: `ssh-add ~/.ssh/id_ed25519`. An agent that is locked shows none: `ssh-add -X`.',
  ),
  agent_unusable: row(
    [502, 6, 'auth'],
    'the SSH agent at {socket} cannot be used: {why}',
    'Let SSH_AUTH_SOCK name the socket of an agent that runs; `ssh-add -l` must list its keys.',
  ),
  bundle_unwritable: row(
    [500, 1, 'request'],
    'the bundle {path} cannot be written: {why}',
    'Name a file in a folder of your own: `bmuxd doctor --bundle FILE`.',
  ),
  metrics_port_unusable: row(
    [503, 1, 'engine'],
    'the metrics cannot be served on port {port}: {why}',
    'Set metrics.port in bmuxd.toml to a free port, then run `bmuxd reload`.',
  ),
  restart_due: row(
    [503, 1, 'engine'],
    'bmuxd {installed} is installed, and {running} runs',
    'Run `bmuxd restart` to use {installed}; live streams go on.',
  ),
  package_away: row(
    [503, 1, 'engine'],
    'the package of bmuxd is away: there is no {path}',
    'Install bmuxd again. Streams go on meanwhile; an engine that ends is replaced when the package is there again.',
  ),
  package_being_written: row(
    [503, 1, 'engine'],
    'the package of bmuxd is being written: {path} has just changed',
    'Wait until it is installed. bmuxd goes on by itself a second later.',
  ),
  engine_unstartable: row(
    [503, 1, 'engine'],
    'the engine process of bmuxd cannot be started: {why}',
    'Is Node still where it was, and is there memory and room for one more process? bmuxd tries again by itself.',
  ),
  engine_busy: row(
    [503, 1, 'full'],
    'bmuxd is working out where {count} requests like this one lead; it takes no more of them.',
    'Try again in a second, or raise streams.max_waiting.',
  ),
  target_busy: row(
    [503, 1, 'full'],
    "{count} requests wait for target '{label}' already; bmuxd lets no more wait for its server.",
    'Try again when the server answers, or raise streams.max_waiting.',
  ),
  target_sockets_full: row(
    [503, 1, 'full'],
    'there are {count} target sockets already; no further one is made.',
    'Remove targets from the config, or use `bmux-stream`, which needs none.',
  ),
  target_sockets_missing: row(
    [503, 1, 'full'],
    '{missing} targets have no target socket: there may be {max} target sockets at once.',
    'Remove targets from the config, lower contexts.max, or use `bmux-stream`, which needs none.',
  ),
  followers_full: row([503, 1, 'full'], 'too many follow the events already', 'End one of the others.'),
  connections_lost: row(
    [503, 1, 'full'],
    'the TLS gateway of {target} holds {count} connections of engines that have crashed, of the 64 of its server',
    'Restart that gateway, then run `bmuxd drop {target}`.',
  ),
  engine_crashes: row(
    [503, 1, 'engine'],
    'the engine was replaced {count} times soon after its start; the last time: {why}',
    'The log of bmuxd says more (`bmuxd logs`). Please report it.',
  ),
  stream_unknown: row([404, 1, 'request'], 'no stream {id}', 'Run `bmuxd streams`.'),
  stream_lost: row(
    [502, 8, 'server_gone'],
    'the stream through bmuxd broke: {why}',
    'Open a new stream; the log of bmuxd says more (`bmuxd logs`).',
  ),
  ping_timeout: row(
    [504, 7, 'timeout'],
    'no answer to a Ping within {ms} ms: the server, or the way to it, is silent',
    'Run `bmuxd doctor TARGET`: it dials anew and says which step fails.',
  ),
  stream_ended: row([499, 1, 'request'], 'stream {id} was ended by {who}', 'Open a new stream.'),
  draining: row(
    [503, 1, 'engine'],
    'bmuxd takes no more streams, and stops when the live ones have ended, in {seconds} s at the latest',
    'Run `bmuxd stop` to end them now.',
  ),
  stopping: row([503, 1, 'engine'], 'bmuxd is stopping', 'Try again when it has been started again.'),
  out_of_time: row(
    [504, 7, 'timeout'],
    'the time for the request ({ms} ms) ran out while {step}',
    'Raise connect_timeout_ms.',
  ),
  nothing_there: row([204, 4, 'refused'], 'nothing is running at the target', 'Start the server first.'),
  internal: row(
    [500, 1, 'engine'],
    'an error inside bmuxd: {why}',
    'Please report it with the log of bmuxd (`bmuxd logs`).',
  ),

  // At the end: V8 makes what follows a spread property by property, which takes a command 1 ms.
  ...SSH_TARGETS,
} as const satisfies Record<string, ErrorRow>;

/** Every code of the registry. */
export type Code = keyof typeof REGISTRY;
