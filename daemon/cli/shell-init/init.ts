// `bmuxd shell-init`: prints the `bmux` that goes through target sockets.
import { bmuxdPaths } from '../../base/paths.ts';
import type { Run } from '../command.ts';
import { functionForFish } from './init-fish.ts';
import { functionFor, scriptFor, type Sockets } from './init-posix.ts';

const SHELLS: Readonly<Record<string, (sockets: Sockets) => string>> = {
  bash: (sockets) => functionFor('bash', sockets),
  zsh: (sockets) => functionFor('zsh', sockets),
  fish: functionForFish,
  sh: scriptFor,
};

export const shellInit: Run = ({ env, args, out }) => {
  const { dir, controlSocket } = bmuxdPaths(env);
  out(SHELLS[args[0] ?? '']?.({ dir, controlSocket }) ?? '');
  return Promise.resolve(0);
};
