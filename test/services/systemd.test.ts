// The systemd units contain only valid settings, and none that would harm the engines.
import { spawnSync } from 'node:child_process';

import t from 'tap';

import { original, rendered, temporaryFolder } from './render.ts';

/** Every `Key=value` of a unit, without comments. */
function settings(text: string): Map<string, string> {
  const lines = text.split('\n').filter((line) => /^[A-Z]\w*=/.test(line));
  return new Map(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
}

const absent = spawnSync('systemd-analyze', ['--version']).status !== 0 && 'systemd-analyze not found';

t.test('systemd has nothing to say about the rendered units', { skip: absent }, async (t) => {
  const folder = temporaryFolder(t);
  const units = ['systemd/bmuxd.service', 'systemd/bmuxd.socket', 'systemd/bmuxd-streams.socket'].map(
    (file) => rendered(file, folder),
  );
  const { status, stderr, error } = spawnSync('systemd-analyze', ['verify', '--user', ...units], {
    encoding: 'utf8',
    // Only PATH of the real environment is passed on: with its HOME, systemd would also read other units.
    env: { PATH: process.env['PATH'], HOME: folder, XDG_RUNTIME_DIR: folder },
    timeout: 60_000,
  });
  t.equal(error, undefined);
  t.equal(stderr, '', 'it ends with 0 even when it warns');
  t.equal(status, 0);
});

t.test('the service leaves the engines and what they need alone', async (t) => {
  const service = settings(original('systemd/bmuxd.service'));
  t.equal(service.get('KillMode'), 'process', 'live streams outlive a restart');
  t.equal(service.get('OOMPolicy'), 'continue', 'control outlives an engine');
  t.equal(service.get('ExecStart'), '@NODE@ --max-semi-space-size=2 @BINDIR@/bmuxd run');
  const harmful = {
    RuntimeDirectory: 'removed at stop, under draining engines',
    MemoryDenyWriteExecute: 'breaks V8',
    PrivateTmp: "hides bmux's sockets and the SSH agent's",
    PrivateNetwork: 'there would be nothing to connect to',
    ProtectHome: "hides the user's configuration and keys",
    PrivateUsers: 'peer credentials would no longer tell who is there',
  };
  for (const [key, reason] of Object.entries(harmful)) t.notOk(service.has(key), `${key}: ${reason}`);
});

t.test('nobody but the user reaches the sockets, and the daemon can tell them apart', async (t) => {
  for (const [unit, name] of [
    ['bmuxd.socket', 'control'],
    ['bmuxd-streams.socket', 'streams'],
  ] as const) {
    const socket = settings(original(`systemd/${unit}`));
    t.equal(socket.get('ListenStream'), `%t/bmuxd/${name}.sock`);
    t.equal(socket.get('FileDescriptorName'), name);
    t.equal(socket.get('SocketMode'), '0600');
    t.equal(socket.get('DirectoryMode'), '0700');
    t.match(settings(original('systemd/bmuxd.service')).get('Sockets'), unit);
  }
});
