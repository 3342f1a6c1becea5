// What an installed package must do, whatever Node and npm have installed it: as a library, as a daemon, and over a TLS gateway.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { launchEmbedded } from '../embedded/launch.ts';
import { run, type Ran } from '../real/index.ts';
import { uses } from './library.ts';
import type { Installed } from './packed.ts';

/** A Ping of epoch 4, and the beginning of its Pong. */
const PING = String.raw`printf '\5\0\0\0\4\2\0\1\1' | bmux-stream --epoch 4 far | od -An -tx1`;
const PONG = /^ 06 00 00 00 04 02 01/;

export interface Check {
  readonly what: string;
  readonly ran: Ran;
  readonly prints: RegExp;
}

/** Uses the package in `folder`, which has a short path. Each check must have exit status 0. */
export async function checks(folder: string, installed: Installed): Promise<readonly Check[]> {
  const { env: user } = installed;
  const version = await run('node', ['-p', 'process.versions.node'], user);
  const [major = 0, minor = 0] = version.stdout.split('.').map(Number);
  // Only a Node with its own zstd needs nothing that is compiled.
  const compression = major > 22 || (major === 22 && minor >= 15) ? 'zstd' : 'none';
  const world = await launchEmbedded({
    socketPath: join(folder, 'server.sock'),
    server: { epoch: 4 },
    tls: { compression },
  });
  try {
    const config = join(folder, 'config');
    await mkdir(config, { recursive: true });
    await writeFile(join(config, 'ca.pem'), world.tls?.certPem ?? '');
    const target = `[connections.targets.far]\ntransport = "tls"\nhost = "127.0.0.1"\nport = ${String(world.tls?.port ?? 0)}\n`;
    const trust = `server_name = "localhost"\nca_file = "${join(config, 'ca.pem')}"\n`;
    await writeFile(join(config, 'bmux.toml'), target + trust);
    const env = { ...user, BMUX_CONFIG_DIR: config, BMUXD_RUNTIME_DIR: join(folder, 'd') };
    const shell = (line: string): Promise<Ran> => run('sh', ['-c', `${line} </dev/null`], env);
    const found: Check[] = [];
    for (const [how, ran] of await uses(folder, installed))
      found.push({ what: how, ran, prints: how === 'TypeScript' ? /^$/ : /^daemon_not_running\n$/ });
    try {
      for (const [line, prints] of [
        ['bmuxd --version', /^bmuxd \d/],
        ['bmuxd install --dry-run', /bmuxd\.(?:service|bmuxd\.plist)/],
        ['bmuxd start', /: ready, pid \d+/],
        [`bmuxd exec far -- sh -c 'test -S "$BMUX_RUNTIME_DIR/server.sock" && echo there'`, /^there\n$/],
        [PING, PONG],
      ] as const)
        found.push({ what: line, ran: await run('sh', ['-c', line], env), prints });
    } finally {
      found.push({ what: 'bmuxd stop', ran: await shell('bmuxd stop'), prints: /bmuxd has stopped/ });
    }
    return found;
  } finally {
    await world.stop();
  }
}
