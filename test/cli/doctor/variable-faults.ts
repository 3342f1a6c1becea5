// Faults of the environment: each with the code that the doctor must find and a part of the right remedy.
import { join } from 'node:path';
import type { Fault } from './spot.ts';

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
    remedy: /bmuxd run --help/,
    plant: async ({ env }) => {
      env['BMUXD_LOG_LEVEL'] = 'verbose';
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
