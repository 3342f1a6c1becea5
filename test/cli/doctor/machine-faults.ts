// Faults of this machine, its files and the daemon: each with the code that the doctor must find and a part of the right remedy.
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { instanceFileOf } from '../../../daemon/api/instance-file.ts';
import { ownIdentity } from '../../../daemon/base/process/identity.ts';
import { packageVersion } from '../../../daemon/base/version.ts';
import { answering, silent, type Fault, type Spot } from './spot.ts';

const runtimeDir = ({ env }: Spot): string => env['BMUXD_RUNTIME_DIR'] ?? '';
const unit = async ({ folder, env }: Spot, lines = ''): Promise<void> => {
  const units = join(folder, 'xdg-config', 'systemd', 'user');
  await mkdir(units, { recursive: true });
  await writeFile(join(units, 'bmuxd.service'), `[Service]\n${lines}`);
  env['XDG_CONFIG_HOME'] = join(folder, 'xdg-config');
};

/** A package of bmuxd of this version; returns the path of its program. */
const installedAt = async ({ folder }: Spot, version: string): Promise<string> => {
  const bin = join(folder, 'other', 'dist', 'daemon', 'bin');
  await mkdir(bin, { recursive: true });
  await writeFile(join(bin, 'bmuxd.cjs'), '');
  const described = JSON.stringify({ version, engines: { node: '>=20.19' } });
  await writeFile(join(folder, 'other', 'package.json'), described);
  return join(bin, 'bmuxd.cjs');
};

export const MACHINE_FAULTS: readonly Fault[] = [
  {
    name: 'a runtime dir that others may read',
    code: 'runtime_dir_insecure',
    remedy: /700/,
    also: /daemon_foreign|path_insecure/,
    plant: async (spot) => {
      await mkdir(runtimeDir(spot));
      await chmod(runtimeDir(spot), 0o755);
    },
  },
  {
    name: 'a runtime dir that is a link',
    code: 'runtime_dir_insecure',
    remedy: /\w/,
    plant: (spot) => symlink(spot.folder, runtimeDir(spot)),
  },
  {
    name: 'a file in place of the runtime dir',
    code: 'runtime_dir_insecure',
    remedy: /\w/,
    plant: (spot) => writeFile(runtimeDir(spot), ''),
  },
  {
    name: 'a relative runtime dir',
    code: 'runtime_dir_insecure',
    remedy: /\w/,
    plant: async ({ env }) => {
      env['BMUXD_RUNTIME_DIR'] = 'here';
    },
  },
  {
    name: 'a runtime dir whose sockets have too long paths',
    code: 'socket_path_too_long',
    remedy: /\w/,
    plant: async ({ env, folder }) => {
      env['BMUXD_RUNTIME_DIR'] = join(folder, 'x'.repeat(100));
    },
  },
  {
    name: 'a runtime dir that cannot be made',
    code: 'runtime_dir_uncreatable',
    remedy: /parent folder/,
    plant: async ({ env, folder }) => {
      await symlink(join(folder, 'nowhere'), join(folder, 'link'));
      env['BMUXD_RUNTIME_DIR'] = join(folder, 'link', 'd');
    },
  },
  {
    name: 'a missing runtime dir below a folder in which others may write',
    code: 'path_insecure',
    remedy: /\w/,
    plant: async ({ env, folder }) => {
      await mkdir(join(folder, 'open'));
      await chmod(join(folder, 'open'), 0o777);
      env['BMUXD_RUNTIME_DIR'] = join(folder, 'open', 'd');
    },
  },
  {
    name: 'a folder in place of the control socket',
    code: 'control_socket_unbindable',
    remedy: /in the way/,
    also: /daemon_foreign/,
    plant: (spot) =>
      mkdir(join(runtimeDir(spot), 'control.sock'), { recursive: true, mode: 0o700 }).then(() => undefined),
  },
  {
    name: 'a folder above the runtime dir in which others may write',
    code: 'path_insecure',
    remedy: /\w/,
    plant: async (spot) => {
      const open = join(spot.folder, 'open');
      await mkdir(join(open, 'd'), { recursive: true, mode: 0o700 });
      await chmod(open, 0o777);
      spot.env['BMUXD_RUNTIME_DIR'] = join(open, 'd');
    },
  },
  {
    name: 'a bmux socket with too long a path',
    code: 'socket_path_too_long',
    remedy: /BMUX_RUNTIME_DIR/,
    also: /server_socket_failed|server_not_running|socket_path_too_long/,
    plant: async ({ env, folder }) => {
      env['BMUX_RUNTIME_DIR'] = join(folder, 'y'.repeat(100));
    },
  },
  {
    name: 'a state dir that is a file',
    code: 'state_unwritable',
    remedy: /disk|write/,
    plant: async ({ env, folder }) => {
      await mkdir(join(folder, 'xdg-state'), { recursive: true });
      env['XDG_STATE_HOME'] = join(folder, 'xdg-state');
      await writeFile(join(folder, 'xdg-state', 'bmuxd'), '');
    },
  },
  {
    name: 'a state dir that cannot be made',
    code: 'state_unwritable',
    remedy: /disk|write/,
    plant: async ({ env, folder }) => {
      env['XDG_STATE_HOME'] = join(folder, 'xdg-state');
      await symlink(join(folder, 'nowhere'), join(folder, 'xdg-state'));
    },
  },
  {
    name: 'bmuxd.toml that is no TOML',
    code: 'settings_invalid',
    remedy: /\w/,
    plant: ({ settings }) => settings('log.level = \n'),
  },
  {
    name: 'bmuxd.toml with a misspelt key',
    code: 'settings_invalid',
    remedy: /\w/,
    plant: ({ settings }) => settings('[log]\nlevle = "debug"\n'),
  },
  {
    name: 'bmuxd.toml with settings of a target that is not there',
    code: 'settings_invalid',
    remedy: /\w/,
    plant: ({ settings }) => settings('[targets.prdo]\nwarm = true\n'),
  },
  {
    name: 'bmux.toml with a misspelt key, which bmux ignores',
    code: 'config_key_unknown',
    remedy: /Correct/,
    plant: ({ config }) => config('connect_timeout = 500\n[appearance]\nthem = "dark"\n'),
  },
  {
    name: 'bmux.toml with a mistake in its syntax',
    code: 'config_unloadable',
    remedy: /file/,
    plant: ({ config }) => config('[connections\n'),
  },
  {
    name: 'bmux.toml with a wrong value',
    code: 'config_unloadable',
    remedy: /file/,
    plant: ({ config }) => config('[general]\nserver_timeout = "long"\n'),
  },
  {
    name: 'BMUX_CONFIG that names no file',
    code: 'config_unloadable',
    remedy: /\w/,
    plant: async ({ env, folder }) => {
      env['BMUX_CONFIG'] = join(folder, 'none.toml');
    },
  },
  {
    name: 'a profile that extends itself',
    code: 'config_unloadable',
    remedy: /\w/,
    plant: ({ config }) =>
      config('[composition]\nactive_profile = "a"\n[composition.profiles.a]\nextends = ["a"]\n'),
  },
  {
    name: 'a slot that the manifest does not have',
    code: 'slot_unknown',
    remedy: /\w/,
    plant: async ({ env, folder }) => {
      const manifest = join(folder, 'slots.toml');
      await writeFile(manifest, '[slots.other]\nbinary = "/bin/true"\n');
      env['BMUX_SLOTS_MANIFEST'] = manifest;
      env['BMUX_SLOT_NAME'] = 'mine';
    },
  },
  {
    name: 'no local server for somebody who asks for it',
    code: 'server_not_running',
    remedy: /Start the server/,
    plant: () => Promise.resolve({ target: 'local' }),
  },
  {
    name: 'a misspelt target on the command line',
    code: 'target_unknown',
    remedy: /\w/,
    plant: () => Promise.resolve({ target: 'prdo' }),
  },
  {
    name: 'a daemon that does not answer',
    code: 'daemon_not_answering',
    remedy: /kill -9/,
    plant: async (spot) => {
      await mkdir(runtimeDir(spot), { mode: 0o700 });
      const socket = join(runtimeDir(spot), 'control.sock');
      await writeFile(instanceFileOf(socket), JSON.stringify({ ...ownIdentity(), sockets: [socket] }));
      await spot.listen(silent(), socket);
    },
  },
  {
    name: 'a socket of a service manager whose daemon does not start',
    code: 'daemon_start_late',
    remedy: /bmuxd service status/,
    plant: async (spot) => {
      await mkdir(runtimeDir(spot), { mode: 0o700 });
      await spot.listen(silent(), join(runtimeDir(spot), 'control.sock'));
    },
  },
  {
    name: 'another program on the control socket',
    code: 'daemon_foreign',
    remedy: /\w/,
    plant: async (spot) => {
      await mkdir(runtimeDir(spot), { mode: 0o700 });
      const server = answering('SSH-2.0-OpenSSH_9.2\r\n');
      await spot.listen(server, join(runtimeDir(spot), 'control.sock'));
    },
  },
  {
    name: 'a service without its daemon',
    code: 'daemon_not_running',
    remedy: /bmuxd start/,
    plant: (spot) => unit(spot),
  },
  {
    name: 'a service that has failed',
    code: 'service_failed',
    remedy: /reset-failed/,
    also: /daemon_not_running/,
    plant: async (spot) => {
      await unit(spot);
      return { execute: (command) => Promise.resolve(command === 'systemctl' ? 'failed\n' : undefined) };
    },
  },
  {
    name: 'a service whose Node is gone',
    code: 'service_path_gone',
    remedy: /bmuxd install/,
    also: /daemon_not_running/,
    plant: async (spot) => {
      await unit(spot, `ExecStart="${spot.folder}/no such/node" -x ${process.execPath} run\n`);
    },
  },
  {
    name: 'a service that starts another installation',
    code: 'service_outdated',
    remedy: /bmuxd install/,
    also: /daemon_not_running/,
    plant: async (spot) => {
      await unit(spot, `ExecStart=${process.execPath} ${await installedAt(spot, '0.0.9')} run\n`);
    },
  },
  {
    name: 'a service whose Node is too old',
    code: 'service_outdated',
    remedy: /bmuxd install/,
    also: /daemon_not_running/,
    plant: async (spot) => {
      await unit(spot, `ExecStart=${process.execPath} ${await installedAt(spot, packageVersion())} run\n`);
      return { execute: () => Promise.resolve('v20.18.3\n') };
    },
  },
  {
    name: 'a native package that does not load',
    code: 'zstd_unavailable',
    remedy: /\w/,
    plant: async () => {
      const { fail } = await import('../../../daemon/errors/fail.ts');
      const { data } = fail('zstd_unavailable', { why: 'no such file', version: process.version });
      return { probe: () => Promise.resolve({ packages: [data], steps: [] }) };
    },
  },
  {
    name: 'a probe that dies of a native package',
    code: 'engine_lost',
    remedy: /\w/,
    plant: async () => {
      const { fail } = await import('../../../daemon/errors/fail.ts');
      const { data } = fail('engine_lost', { why: 'SIGABRT' });
      return { probe: () => Promise.resolve({ packages: [], steps: [], failure: data }) };
    },
  },
];
