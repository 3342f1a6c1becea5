// Hostile iroh hosts as a separate process: one endpoint for each mode. argv[2]: the keys that may come in, as JSON. Prints one line of JSON
// when all listen; ends with stdin.
import {
  Endpoint,
  presetMinimal,
  RelayMode,
  type BiStream,
  type Connection,
  type Incoming,
} from '@number0/iroh/index.js';
import { byteArray, IrohDuplex } from '../gateways/iroh-duplex.ts';
import { authenticateClient } from '../gateways/ssh-host.ts';
import type { HostileHost } from './launch.ts';
import { HOST_MODES, type HostMode } from './iroh-modes.ts';

const keys = JSON.parse(process.argv[2] ?? '[]') as readonly string[];
const allowed = keys.map((publicKeyOpenssh) => ({ publicKeyOpenssh }));

/** What is not referred to is closed by garbage collection. */
const held = new Set<object>();

function duplexOf(bi: BiStream): IrohDuplex {
  const stream = new IrohDuplex(bi);
  held.add(stream);
  stream.on('error', () => undefined).once('close', () => held.delete(stream));
  return stream;
}

async function serve(mode: HostMode, connection: Connection): Promise<void> {
  if (allowed.length > 0) {
    const stream = duplexOf(await connection.acceptBi());
    if (mode.auth !== undefined) await mode.auth(stream, connection);
    else await authenticateClient(stream, { allowed });
  }
  // A client that leaves while it is attacked is no error.
  Promise.resolve(mode.connected?.(connection)).catch(() => undefined);
  for (;;) {
    const bi = await connection.acceptBi();
    const stream = duplexOf(bi);
    const reset = (): void => {
      bi.send.reset(7n).catch(() => undefined);
      bi.recv.stop(7n).catch(() => undefined);
      stream.destroy();
    };
    Promise.resolve(mode.act({ stream, reset }, connection)).catch(() => stream.destroy());
  }
}

async function accept(mode: HostMode, incoming: Incoming): Promise<void> {
  const connection = await (await incoming.accept()).connect();
  held.add(connection);
  await serve(mode, connection).catch(() => undefined);
  await connection.closed().catch(() => undefined);
  held.delete(connection);
}

async function listen(mode: HostMode): Promise<HostileHost> {
  const builder = Endpoint.builder();
  presetMinimal(builder);
  builder.relayMode(RelayMode.disabled());
  builder.alpns([byteArray(Buffer.from('bmux/gateway/iroh/1'))]);
  builder.bindAddr('127.0.0.1:0');
  const endpoint = await builder.bind();
  held.add(endpoint);
  void (async () => {
    for (let next = await endpoint.acceptNext(); next !== null; next = await endpoint.acceptNext())
      accept(mode, next).catch(() => undefined);
  })();
  const address = endpoint.boundSockets().find((socket) => socket.startsWith('127.')) ?? '';
  return { name: mode.name, endpointId: endpoint.id().toString(), address, sshAuth: allowed.length > 0 };
}

const hosts: HostileHost[] = [];
// The modes of auth need a client that authenticates.
for (const mode of HOST_MODES)
  if (mode.auth === undefined || allowed.length > 0) hosts.push(await listen(mode));
process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({ hosts })}\n`);
