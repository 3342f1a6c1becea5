// Hostile servers as a separate process: one TLS port and one Unix socket for each mode. argv[2]: the folder of the Unix sockets. Prints one
// line of JSON when all listen; ends with stdin.
import { mkdirSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createSecureContext, TLSSocket } from 'node:tls';
import type { Duplex } from 'node:stream';
import { selfSigned } from '../certificate.ts';
import type { HostileAddresses, HostileServer } from './launch.ts';
import { HOSTILE_MODES, type HostileMode } from './modes.ts';

const folder = process.argv[2] ?? '.';
const certificate = selfSigned();
const secureContext = createSecureContext({ cert: certificate.certPem, key: certificate.keyPem });

function ignoreErrors(stream: Duplex): void {
  stream.on('error', () => stream.destroy());
}

function act(mode: HostileMode, stream: Duplex, socket: Socket): void {
  const reset = (): void => {
    if (socket.remotePort !== undefined) socket.resetAndDestroy();
    stream.destroy();
  };
  // A client that leaves while it is attacked is no error.
  Promise.resolve(mode.act({ stream, reset })).catch(() => stream.destroy());
}

function overTls(mode: HostileMode): Server {
  return createServer({ allowHalfOpen: true, noDelay: true }, (tcp) => {
    ignoreErrors(tcp);
    if (mode.on === 'tcp') {
      act(mode, tcp, tcp);
      return;
    }
    const stream = new TLSSocket(tcp, { isServer: true, secureContext });
    ignoreErrors(stream);
    stream.once('secure', () => act(mode, stream, tcp));
  });
}

function local(mode: HostileMode): Server {
  return createServer({ allowHalfOpen: true }, (socket) => {
    ignoreErrors(socket);
    act(mode, socket, socket);
  });
}

async function listen(server: Server, at: string | { readonly host: string; readonly port: number }) {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    if (typeof at === 'string') server.listen(at, resolve);
    else server.listen(at, resolve);
  });
  return server.address();
}

const servers: HostileServer[] = [];
for (const [index, mode] of HOSTILE_MODES.entries()) {
  const address = await listen(overTls(mode), { host: '127.0.0.1', port: 0 });
  const { port } = address as AddressInfo;
  if (mode.on === 'tcp') {
    servers.push({ name: mode.name, port });
    continue;
  }
  const runtimeDir = join(folder, `h${String(index)}`);
  mkdirSync(runtimeDir, { mode: 0o700 });
  await listen(local(mode), join(runtimeDir, 'server.sock'));
  servers.push({ name: mode.name, port, runtimeDir });
}
process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write(
  `${JSON.stringify({ certPem: certificate.certPem, servers } satisfies HostileAddresses)}\n`,
);
