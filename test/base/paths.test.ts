// Tests every row of docs/bmux-protocol.md, "Paths", and that the real bmux uses the same paths.
import { chmodSync } from 'node:fs';
import { chown, mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import t from 'tap';
import { bmuxdPaths, bmuxPaths, type BmuxPaths, type Env } from '../../daemon/base/paths.ts';
import { folderFor } from '../config/files.ts';
import { realBmux, run } from '../real/index.ts';

const H: Env = { HOME: '/h' };

const LINUX: readonly [title: string, env: Env, expected: Partial<BmuxPaths>][] = [
  [
    'only HOME is set',
    H,
    {
      configDirs: ['/h/.config/bmux'],
      runtimeDir: '/tmp/bmux',
      runtimeName: 'default',
      serverSocket: '/tmp/bmux/server.sock',
      serverMeta: '/tmp/bmux/server-meta.json',
      authState: '/tmp/bmux/auth-state.json',
      dataDir: '/h/.local/share/bmux',
      principalId: '/h/.local/share/bmux/runtime/principal-id',
      stateDir: '/h/.local/state/bmux',
      logDir: '/h/.local/state/bmux/logs',
      configRoot: '/h/.config/bmux',
      runtimeRoot: '/tmp/bmux',
      stateRoot: '/h/.local/state/bmux',
      slotsRoot: '/h/.local/share/bmux/slots',
    },
  ],
  [
    'XDG folders',
    { ...H, XDG_CONFIG_HOME: '/c', XDG_RUNTIME_DIR: '/r', XDG_DATA_HOME: '/d', XDG_STATE_HOME: '/s' },
    {
      configDirs: ['/c/bmux'],
      runtimeDir: '/r/bmux',
      dataDir: '/d/bmux',
      stateDir: '/s/bmux',
      logDir: '/s/bmux/logs',
      slotsRoot: '/d/bmux/slots',
    },
  ],
  [
    'BMUX folders take precedence, and do not change the roots of slots',
    {
      ...H,
      XDG_RUNTIME_DIR: '/r',
      BMUX_CONFIG_DIR: '/bc',
      BMUX_RUNTIME_DIR: '/br',
      BMUX_DATA_DIR: '/bd',
      BMUX_STATE_DIR: '/bs',
      BMUX_LOG_DIR: '/bl',
      BMUX_SLOTS_ROOT: '/sr',
    },
    {
      configDirs: ['/bc'],
      runtimeDir: '/br',
      dataDir: '/bd',
      stateDir: '/bs',
      logDir: '/bl',
      configRoot: '/h/.config/bmux',
      runtimeRoot: '/r/bmux',
      stateRoot: '/h/.local/state/bmux',
      slotsRoot: '/sr',
    },
  ],
  ['the log folder is in BMUX_STATE_DIR', { ...H, BMUX_STATE_DIR: '/bs' }, { logDir: '/bs/logs' }],
  ['the temp folder', { ...H, TMPDIR: '/t/' }, { runtimeDir: '/t/bmux' }],
  [
    'a runtime name, trimmed',
    { ...H, BMUX_RUNTIME_NAME: ' foo ' },
    { runtimeDir: '/tmp/bmux/runtimes/foo', runtimeName: 'foo' },
  ],
  [
    'a blank runtime name',
    { ...H, BMUX_RUNTIME_NAME: '  ' },
    { runtimeDir: '/tmp/bmux', runtimeName: 'default' },
  ],
  ['the default runtime name', { ...H, BMUX_RUNTIME_NAME: 'default' }, { runtimeDir: '/tmp/bmux' }],
  [
    'a slot changes no path',
    { ...H, BMUX_SLOT_NAME: 'dev' },
    { runtimeDir: '/tmp/bmux', stateDir: '/h/.local/state/bmux' },
  ],
  [
    'relative: XDG_CONFIG_HOME is ignored',
    { ...H, XDG_CONFIG_HOME: 'c' },
    { configDirs: ['/h/.config/bmux'] },
  ],
  ['relative: XDG_DATA_HOME is ignored', { ...H, XDG_DATA_HOME: 'd' }, { dataDir: '/h/.local/share/bmux' }],
  ['relative: XDG_STATE_HOME is below cwd', { ...H, XDG_STATE_HOME: 's' }, { stateDir: '/w/s/bmux' }],
  ['relative: XDG_RUNTIME_DIR is below cwd', { ...H, XDG_RUNTIME_DIR: 'r' }, { runtimeDir: '/w/r/bmux' }],
  [
    'relative: BMUX_RUNTIME_DIR is below cwd',
    { ...H, BMUX_RUNTIME_DIR: 'r' },
    { serverSocket: '/w/r/server.sock' },
  ],
  ['empty: BMUX_RUNTIME_DIR is cwd', { ...H, BMUX_RUNTIME_DIR: '' }, { serverSocket: '/w/server.sock' }],
  ['empty: XDG_RUNTIME_DIR is cwd', { ...H, XDG_RUNTIME_DIR: '' }, { runtimeDir: '/w/bmux' }],
  ['empty: BMUX_CONFIG_DIR is cwd', { ...H, BMUX_CONFIG_DIR: '' }, { configDirs: ['/w'] }],
  ['empty: HOME counts as not set', { HOME: '' }, { configDirs: [join(userInfo().homedir, '.config/bmux')] }],
];

t.test('Linux', (t) => {
  for (const [title, env, expected] of LINUX) t.match(bmuxPaths(env, 'linux', '/w'), expected, title);
  t.equal(
    bmuxPaths({ ...H, BMUX_RUNTIME_DIR: 'r' }, 'linux').serverSocket,
    'r/server.sock',
    'no cwd: the path stays relative',
  );
  t.equal(bmuxPaths({ ...H, BMUX_RUNTIME_DIR: '' }, 'linux').serverSocket, 'server.sock', 'no cwd, empty');
  t.end();
});

t.test('macOS', (t) => {
  const support = '/h/Library/Application Support/bmux';
  t.match(bmuxPaths({ ...H, TMPDIR: '/t', XDG_CONFIG_HOME: '/c', XDG_DATA_HOME: '/d' }, 'darwin'), {
    configDirs: [support, '/h/.config/bmux'],
    runtimeDir: '/t/bmux',
    dataDir: support,
    stateDir: `${support}/State`,
    logDir: '/h/Library/Logs/bmux',
    slotsRoot: `${support}/slots`,
  });
  const explicit = bmuxPaths({ ...H, BMUX_CONFIG_DIR: '/bc', BMUX_STATE_DIR: '/bs' }, 'darwin');
  t.match(explicit, { configDirs: ['/bc'], stateDir: '/bs', logDir: '/bs/logs' });
  t.end();
});

t.test('bmuxd', (t) => {
  const uid = String(process.getuid?.());
  const none = (): boolean => false;
  t.match(bmuxdPaths(H, 'linux', none), {
    dir: '/h/.local/state/bmuxd/run',
    controlSocket: '/h/.local/state/bmuxd/run/control.sock',
    enginesDir: '/h/.local/state/bmuxd/run/engines',
    settings: '/h/.config/bmuxd/bmuxd.toml',
    stateDir: '/h/.local/state/bmuxd',
  });
  const xdg = { ...H, XDG_RUNTIME_DIR: '/r', XDG_CONFIG_HOME: '/c', XDG_STATE_HOME: '/s' };
  t.match(bmuxdPaths(xdg, 'linux'), {
    dir: '/r/bmuxd',
    settings: '/c/bmuxd/bmuxd.toml',
    stateDir: '/s/bmuxd',
  });
  const own = { ...xdg, BMUXD_RUNTIME_DIR: '/b', BMUXD_SOCKET: '/b.sock', BMUXD_CONFIG: '/b.toml' };
  t.match(bmuxdPaths(own, 'linux'), { dir: '/b', controlSocket: '/b.sock', settings: '/b.toml' });
  t.equal(
    bmuxdPaths({ ...own, BMUX_RUNTIME_DIR: '/x', BMUX_RUNTIME_NAME: 'x' }, 'linux').dir,
    '/b',
    'BMUX_* variables change no path of bmuxd',
  );
  t.equal(
    bmuxdPaths({ ...H, XDG_RUNTIME_DIR: 'r' }, 'linux', none).dir,
    '/h/.local/state/bmuxd/run',
    'relative: XDG_RUNTIME_DIR is ignored, so that all working directories share a daemon',
  );
  t.equal(
    bmuxdPaths({ ...H, TMPDIR: '/t', XDG_STATE_HOME: '/s' }, 'linux', none).dir,
    '/s/bmuxd/run',
    'never in a temp folder that others may write',
  );
  t.equal(
    bmuxdPaths(H, 'linux', (path) => path === `/run/user/${uid}`).dir,
    `/run/user/${uid}/bmuxd`,
    "the user's runtime folder also when no variable names it",
  );
  const mac = { ...H, TMPDIR: '/var/folders/x/T/' };
  t.equal(
    bmuxdPaths(mac, 'darwin', (path) => path === mac.TMPDIR).dir,
    '/var/folders/x/T/bmuxd',
    'macOS: a temp folder of the user alone',
  );
  t.equal(bmuxdPaths(mac, 'darwin', none).dir, '/h/.local/state/bmuxd/run', 'macOS: any other temp folder');
  t.end();
});

t.test(
  'only a folder of this user that nobody else can enter serves as the usual runtime folder',
  async (t) => {
    const folder = await folderFor(t);
    const dirAt = (mode: number): string => {
      chmodSync(folder, mode);
      return bmuxdPaths({ ...H, TMPDIR: folder }, 'darwin').dir;
    };
    t.equal(dirAt(0o700), join(folder, 'bmuxd'));
    t.equal(dirAt(0o755), '/h/.local/state/bmuxd/run');
    if (process.getuid?.() === 0) {
      await chown(folder, 65_534, 65_534);
      t.equal(dirAt(0o700), '/h/.local/state/bmuxd/run');
    }
  },
);

const bmux = realBmux();
t.test(
  'the real bmux connects to the same socket',
  { skip: bmux === undefined && 'real bmux not found' },
  async (t) => {
    const w = await folderFor(t);
    const home = { HOME: join(w, 'home'), PATH: process.env['PATH'] ?? '' };
    const cases: readonly Record<string, string>[] = [
      { BMUX_RUNTIME_DIR: join(w, 'a') },
      { BMUX_RUNTIME_DIR: '' },
      { BMUX_RUNTIME_DIR: 'rel', BMUX_RUNTIME_NAME: ' foo ' },
      { BMUX_RUNTIME_DIR: join(w, 'b'), BMUX_RUNTIME_NAME: 'default' },
      { XDG_RUNTIME_DIR: '' },
      { XDG_RUNTIME_DIR: join(w, 'x') },
      { TMPDIR: join(w, 't') },
    ];
    for (const variables of cases) {
      const env = { ...home, ...variables };
      const socket = resolve(w, bmuxPaths(env, process.platform, w).serverSocket);
      await mkdir(dirname(socket), { recursive: true });
      let connected = 0;
      const server = createServer((stream) => {
        connected += 1;
        stream.destroy();
      });
      await new Promise<void>((listening) => server.listen(socket, listening));
      await run('sh', ['-c', 'cd "$1" && exec "$2" list-sessions', 'sh', w, bmux ?? ''], env);
      await new Promise((closed) => server.close(closed));
      t.ok(connected > 0, JSON.stringify(variables));
    }
  },
);
