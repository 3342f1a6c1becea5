// Faults of the environment: each with the code that the doctor must find and a part of the right remedy.
import { join } from 'node:path';
import { silent, type Fault } from './spot.ts';

export const VARIABLE_FAULTS: readonly Fault[] = [
  {
    name: 'a relative HOME',
    code: 'home_relative',
    remedy: /absolute path/,
    plant: async ({ env, folder }) => {
      env['HOME'] = 'home';
      env['XDG_STATE_HOME'] = join(folder, 'xdg-state');
    },
  },
  {
    name: 'BMUX_RUNTIME_DIR of a target socket that is gone',
    code: 'target_socket_gone',
    remedy: /bmuxd env --unset/,
    plant: async (spot) => {
      spot.env['BMUX_RUNTIME_DIR'] = join(spot.env['BMUXD_RUNTIME_DIR'] ?? '', 'targets', 'staging');
    },
  },
  {
    name: 'BMUXD_LOG_LEVEL that is none',
    code: 'usage',
    remedy: /Set BMUXD_LOG_LEVEL to one of trace, .*, or unset it/,
    plant: async ({ env }) => {
      env['BMUXD_LOG_LEVEL'] = 'verbose';
    },
  },
  {
    name: 'BMUXD_CONFIG that names no file',
    code: 'settings_missing',
    remedy: /Correct BMUXD_CONFIG or unset it/,
    plant: async ({ env, folder }) => {
      env['BMUXD_CONFIG'] = join(folder, 'bmuxd.tml');
    },
  },
  {
    name: 'HTTPS_PROXY that refuses',
    code: 'proxy_unusable',
    remedy: /unset HTTPS_PROXY/,
    plant: async ({ env }) => {
      env['HTTPS_PROXY'] = 'http://127.0.0.1:1';
    },
  },
  {
    name: 'a proxy that speaks SOCKS',
    code: 'proxy_unusable',
    remedy: /unset ALL_PROXY/,
    plant: async ({ env, listen }) => {
      env['ALL_PROXY'] = `socks5://127.0.0.1:${String(await listen(silent(), 0))}`;
    },
  },
  {
    name: 'a proxy whose name is none',
    code: 'proxy_unusable',
    remedy: /unset all_proxy/,
    plant: async ({ env }) => {
      env['all_proxy'] = 'http://proxy.invalid:3128';
    },
  },
  {
    name: 'BMUXD_SOCKET that leads to nothing',
    code: 'control_socket_mismatch',
    remedy: /unset BMUXD_SOCKET/,
    plant: async ({ env, folder }) => {
      env['BMUXD_SOCKET'] = join(folder, 'former', 'control.sock');
    },
  },
];
