// An embedded server behind a real sshd: the bmux there is a script whose bridge leads to the server's socket.
import type { Test } from 'tap';
import { startSshd, type RealSshd } from '../../real/index.ts';
import { targetToml } from '../../target-sockets/ways.ts';
import { writeProgram } from './rig.ts';

export interface SshToServer {
  readonly sshd: RealSshd;
  /** The target `name` of bmux.toml that leads there. */
  readonly toml: (name: string, fields?: Readonly<Record<string, string | number | boolean>>) => string;
}

/** As the bridge of bmux: its end follows that of stdin, and it is silent about the end of the server. */
const BRIDGE = `
const server = require('node:net').connect(process.argv[1]);
server.on('error', () => undefined);
server.pipe(process.stdout, { end: false });
process.stdin.on('data', (chunk) => {
  if (!server.destroyed) return void server.write(chunk);
  console.error('bmux error: bridge stdin copy failed: Broken pipe (os error 32)');
  process.exit(1);
});
process.stdin.on('end', () => {
  server.end();
  if (server.closed) process.exit(0);
  server.on('close', () => process.exit(0));
});
`;

export async function sshToServer(
  t: Test,
  socketPath: string,
  options: Parameters<typeof startSshd>[0] = {},
): Promise<SshToServer> {
  const sshd = await startSshd(options);
  t.teardown(() => sshd.stop());
  const bridge = `exec '${process.execPath}' -e "${BRIDGE}" '${socketPath}'`;
  const bmux = await writeProgram(
    sshd,
    'bmux',
    [
      'case "$*" in',
      '--version) echo bmux 0.0.1-alpha.4;;',
      '"server status") echo server version: 0.0.1-alpha.4;;',
      `*) ${bridge};;`,
      'esac',
    ].join('\n'),
  );
  return {
    sshd,
    toml: (name, fields = {}) =>
      targetToml(name, {
        transport: 'ssh',
        host: '127.0.0.1',
        port: sshd.port,
        identity_file: sshd.identity,
        known_hosts_file: sshd.knownHosts,
        remote_bmux_path: bmux,
        ...fields,
      }),
  };
}
