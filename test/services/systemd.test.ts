// The systemd units contain only valid settings, and none that would harm the engines.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

import t from 'tap';

import { original, rendered, temporaryFolder } from './render.ts';

/** Every `Key=value` of a unit, without comments. */
function settings(text: string): Map<string, string> {
  const lines = text.split('\n').filter((line) => /^[A-Z]\w*=/.test(line));
  return new Map(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
}

const absent = spawnSync('systemd-analyze', ['--version']).status !== 0 && 'systemd-analyze not found';

t.test('systemd-analyze finds no problem in the rendered units', { skip: absent }, async (t) => {
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
  t.equal(stderr, '', 'no warnings; the exit status is 0 even with warnings');
  t.equal(status, 0);
});

t.test('the service is as closed as SECURITY.md says', { skip: absent }, async (t) => {
  const folder = temporaryFolder(t);
  const unit = rendered('systemd/bmuxd.service', folder);
  for (const file of ['systemd/bmuxd.socket', 'systemd/bmuxd-streams.socket']) rendered(file, folder);
  const { stdout, stderr } = spawnSync(
    'systemd-analyze',
    ['security', '--user', '--offline=true', '--no-pager', unit],
    {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], HOME: folder, XDG_RUNTIME_DIR: folder },
      timeout: 60_000,
    },
  );
  if (/unrecognized option '--offline/.test(stderr)) return;
  const score = /Overall exposure level for bmuxd\.service: ([\d.]+)/.exec(stdout)?.[1];
  const stated = /rates it at\s+most ([\d.]+)/.exec(original('SECURITY.md'))?.[1];
  t.ok(Number(score) <= Number(stated), `${String(score)}, at most ${String(stated)}: ${stderr}`);
});

t.test('the service does not stop the engines or remove what they need', async (t) => {
  const folder = temporaryFolder(t);
  const service = settings(readFileSync(rendered('systemd/bmuxd.service', folder), 'utf8'));
  t.equal(service.get('KillMode'), 'process', 'live streams go on during a restart');
  t.equal(service.get('OOMPolicy'), 'continue', 'control goes on when an engine is killed');
  t.equal(service.get('ExecStart'), `${process.execPath} --max-semi-space-size=2 ${folder}/bmuxd run`);
  const harmful = {
    RuntimeDirectory: 'it would be removed at stop while engines drain',
    MemoryDenyWriteExecute: 'V8 needs such memory',
    PrivateTmp: "hides bmux's sockets and the SSH agent's",
    PrivateNetwork: 'the network would be unreachable',
    ProtectHome: "hides the user's configuration and keys",
    PrivateUsers: 'peer credentials would no longer identify the peer',
  };
  for (const [key, reason] of Object.entries(harmful)) t.notOk(service.has(key), `${key}: ${reason}`);
});

t.test('only the user may connect to the sockets, and the daemon knows them by their names', async (t) => {
  for (const [unit, name] of [
    ['bmuxd.socket', 'control'],
    ['bmuxd-streams.socket', 'streams'],
  ] as const) {
    const socket = settings(readFileSync(rendered(`systemd/${unit}`, temporaryFolder(t)), 'utf8'));
    t.equal(socket.get('ListenStream'), `%t/bmuxd/${name}.sock`);
    t.equal(socket.get('FileDescriptorName'), name);
    t.equal(socket.get('SocketMode'), '0600');
    t.equal(socket.get('DirectoryMode'), '0700');
    t.match(settings(original('systemd/bmuxd.service')).get('Sockets'), unit);
  }
});
