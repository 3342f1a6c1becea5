// The texts that scripts match, with bmux's exact words (docs/bmux-protocol.md, "Error texts"). The registry is compared with this list and
// not with itself.
import t from 'tap';
import { fail, type Code, type Values } from '../../daemon/errors/fail.ts';
import { asLine, asText } from '../../daemon/errors/text.ts';

type Row = readonly [code: Code, values: Values, text: string];

const NOT_RUNNING =
  'bmux server is not running (IPC endpoint unavailable).\n' +
  'Run `bmux server start --daemon`.\n' +
  'Troubleshooting: if the server is running in another shell, ensure both processes use the same runtime directory (`XDG_RUNTIME_DIR`/`TMPDIR`). ' +
  'On Unix, a stale socket file can also cause connection refused; remove stale runtime files or run `bmux server stop` and retry.';
const LOST =
  'bmux error: server connection lost unexpectedly.\n' +
  'The server may have crashed or been stopped, or a hosted bridge could not reach its local IPC endpoint.\n' +
  'Local CLI runtime: default\n' +
  'Local CLI IPC endpoint: /r/server.sock\n' +
  'Check `bmux --runtime default server status` on this machine and host logs on the remote machine.';
const OTHER_SLOT =
  'cross-slot attach refused: this CLI is running under slot "dev" but the server in this runtime dir was started under slot "stable".\n' +
  'Run `bmux-stable` to talk to that server, or stop it first (`bmux-stable server stop`) and start a fresh server under slot "dev".';
const NO_SLOT =
  'cross-slot attach refused: this CLI is running under slot "dev" but the existing server in this runtime dir has no slot recorded (legacy / pre-slots install).\n' +
  'Stop the existing server, then run the slot-aware CLI fresh.';
const CONFLICT =
  'refusing to start server under slot "dev": another live server (pid=42) is already running here under slot "stable". Stop it first with `bmux-stable server stop`.';
const UNKNOWN_SLOT =
  'active slot "x" is not declared in the slot manifest (known: ["a"]). Add it to slots.toml or unset BMUX_SLOT_NAME.';

const lost = { runtime: 'default', socket: '/r/server.sock' };

const ROWS: readonly Row[] = [
  // Slots and builds.
  ['cross_slot_refused', { client: '"dev"', server: 'stable', serverQuoted: '"stable"' }, OTHER_SLOT],
  ['cross_slot_unrecorded', { client: '"dev"' }, NO_SLOT],
  [
    'server_meta_conflict',
    { client: '"dev"', pid: 42, serverQuoted: '"stable"', server: 'stable' },
    CONFLICT,
  ],
  [
    'server_meta_unparsable',
    { path: '/m' },
    'failed parsing server metadata file /m; remove stale file and retry',
  ],
  ['server_meta_unreadable', { path: '/m' }, 'failed reading server metadata file /m'],
  ['server_meta_unwritable', { path: '/m' }, 'failed writing server metadata file /m'],
  ['server_meta_unremovable', { path: '/m' }, 'failed removing server metadata file /m'],
  ['runtime_dir_uncreatable', { path: '/r' }, 'failed creating runtime dir /r'],
  ['executable_unreadable', { path: '/e' }, 'failed reading executable metadata /e'],
  // Share links and addresses.
  ['share_lookup_unparsable', {}, 'failed parsing share lookup response'],
  ['control_plane_unreachable', { url: 'http://c' }, 'failed contacting http://c'],
  ['share_link_unknown', { name: 'n' }, "share link not found: bmux://n; run 'bmux share' or 'bmux hosts'"],
  ['tls_host_missing', { name: 'n' }, "TLS target 'n' requires host"],
  ['iroh_endpoint_missing', { name: 'n' }, "iroh target 'n' requires endpoint_id"],
  ['tls_port_invalid', { target: 'tls://h:x' }, "invalid TLS port in target 'tls://h:x'"],
  ['tls_inline_host_missing', {}, 'TLS target must include a host'],
  ['hosted_host_missing', {}, 'hosted target must include a host'],
  [
    'iroh_compression_invalid',
    { value: 'x' },
    "unsupported iroh compression mode 'x' (expected auto|none|zstd)",
  ],
  ['iroh_inline_endpoint_missing', {}, 'iroh target must include an endpoint id'],
  ['iroh_addr_invalid', {}, 'addr must be a socket address'],
  // Connections and the Hello.
  ['server_not_running', {}, NOT_RUNNING],
  ['tls_unreachable', { label: 'l' }, 'TLS target unreachable: l'],
  ['tls_connect_timeout', { label: 'l' }, "TLS target 'l' connect timed out"],
  ['tls_server_name_invalid', { serverName: 's' }, "invalid TLS server_name 's'"],
  ['tls_handshake_failed', { label: 'l' }, "TLS handshake failed for target 'l'"],
  [
    'tls_roots_missing',
    { label: 'l' },
    "no TLS trust roots available for target 'l'; install system certs or set ca_file",
  ],
  ['ca_unreadable', { path: '/c' }, 'failed reading CA bundle /c'],
  ['ca_unparsable', { path: '/c' }, 'failed parsing CA bundle /c'],
  ['ca_unaddable', { path: '/c' }, 'failed adding CA certificate from /c'],
  ['iroh_unreachable', { label: 'l' }, 'iroh target unreachable: l'],
  ['iroh_dns_failed', { label: 'l', zone: 'z' }, 'iroh target unreachable: l'],
  ['iroh_connect_timeout', { label: 'l' }, "iroh target 'l' connect timed out"],
  ['iroh_endpoint_invalid', { id: 'i' }, "invalid iroh endpoint id 'i'"],
  ['iroh_relay_invalid', { url: 'u' }, "invalid iroh relay url 'u'"],
  ['ssh_auth_failed', {}, 'iroh SSH auth handshake failed'],
  ['ssh_auth_rejected', { why: 'w' }, 'iroh SSH auth rejected: w'],
  ['ssh_auth_error', { why: 'w' }, 'iroh SSH auth failed: w'],
  [
    'ssh_auth_no_key',
    {},
    'no suitable SSH agent key available for host allowlist; load a matching key into ssh-agent',
  ],
  [
    'wire_epoch_mismatch',
    { client: 3, server: 4 },
    'bmux error: incompatible IPC wire epoch (client=3, server=4). Restart or update the server so both sides share a wire epoch.',
  ],
  [
    'revision_mismatch',
    { clientMin: 1, clientMax: 2, serverMin: 3, serverMax: 4 },
    'bmux error: no overlapping protocol revision (client=1-2, server=3-4). Update either side to overlapping revisions.',
  ],
  [
    'capabilities_missing',
    { list: 'a, b' },
    'bmux error: missing shared core protocol capabilities: a, b. Update server/client so core contracts align.',
  ],
  [
    'protocol_mismatch',
    {},
    'bmux error: client/server protocol mismatch. Restart with `bmux server stop` and retry.',
  ],
  ['connection_lost', lost, LOST],
  ['hello_closed_auth', lost, LOST],
  // Principals and what follows the Hello.
  ['principal_invalid', { path: '/p', content: 'c' }, 'invalid principal id in /p: c'],
  ['principal_dir_uncreatable', { path: '/p' }, 'failed creating principal id dir /p'],
  ['principal_unreadable', { path: '/p' }, 'failed reading principal id file /p'],
  ['principal_unwritable', { path: '/p' }, 'failed writing principal id file /p'],
  ['slot_unknown', { slot: '"x"', known: '"a"' }, UNKNOWN_SLOT],
  ['config_unloadable', {}, 'failed loading bmux config'],
  ['file_unreadable', { path: '/f' }, 'failed reading /f'],
  ['auth_state_unparsable', { path: '/a' }, 'failed parsing auth state /a'],
  ['iroh_bind_failed', {}, 'failed binding iroh client endpoint'],
  ['iroh_stream_failed', {}, 'failed opening iroh stream'],
];

t.test('word for word', async (t) => {
  for (const [code, values, text] of ROWS) t.equal(fail(code, values).message, text, code);
});

t.test('a failure in one line has message, causes, remedy and code', async (t) => {
  const inner = new Error('connect ECONNREFUSED 127.0.0.1:1');
  const remedy = 'Check host, port and network; is the gateway running? [tls_unreachable]';
  const unreachable = (cause: Error): string => asLine(fail('tls_unreachable', { label: 'l' }, cause));
  t.equal(
    unreachable(new Error('no way.', { cause: inner })),
    `TLS target unreachable: l; caused by: no way; caused by: ${inner.message}. ${remedy}`,
  );
  t.match(
    asLine(fail('connection_lost', lost)),
    /unexpectedly\. The server may.* remote machine\. .* \[connection_lost\]$/,
  );
  const long = unreachable(new Error(`\u001b[31m${'x'.repeat(100_000)}`));
  t.match(long, /^TLS target unreachable: l; caused by: \?\[31mx+… /);
  t.ok(long.endsWith(remedy), 'the remedy and the code are not cut');
  t.ok(long.length < 2200, 'its length is bounded');
});

t.test('a cause that is told already is not told again', (t) => {
  const reset = new Error('read ECONNRESET');
  const broken = fail(
    'stream_lost',
    { why: 'read ECONNRESET.' },
    new Error('read ECONNRESET.', { cause: reset }),
  );
  t.match(asLine(broken), /^the stream through bmuxd broke: read ECONNRESET\. \S+ /);
  t.notMatch(asText(broken, 'bmuxd'), /caused by/);
  const wrapped = fail(
    'tls_unreachable',
    { label: 'l' },
    new Error('no way', { cause: new Error('no way', { cause: reset }) }),
  );
  t.match(
    asText(wrapped, 'bmuxd'),
    /^TLS target unreachable: l\n {2}caused by: no way\n {2}caused by: read ECONNRESET\n\S/,
  );
  t.end();
});
