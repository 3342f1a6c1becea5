// A server behind an iroh gateway, and a plain client that uses the binding directly, for the tests of the gateway.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Endpoint,
  EndpointAddr,
  EndpointId,
  presetMinimal,
  RelayMode,
  type Connection,
} from '@number0/iroh/index.js';
import type { Test } from 'tap';
import { byteArray, IrohDuplex } from './iroh-duplex.ts';
import { startIrohGateway, type IrohGateway, type IrohGatewayOptions } from './iroh-gateway.ts';
import { EmbeddedServer } from '../server/server.ts';

const ALPN = byteArray(Buffer.from('bmux/gateway/iroh/1'));

export interface Pair {
  readonly server: EmbeddedServer;
  readonly gateway: IrohGateway;
}

export async function start(t: Test, options: Partial<IrohGatewayOptions> = {}): Promise<Pair> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-embedded-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'server.sock');
  const server = await EmbeddedServer.start({ socketPath, epoch: 4 });
  t.teardown(() => server.stop());
  const gateway = await startIrohGateway({ socketPath, relays: 'disabled', compression: 'none', ...options });
  t.teardown(() => gateway.stop());
  return { server, gateway };
}

export interface Address {
  readonly endpointId: string;
  readonly ipAddr?: string;
  readonly relayUrl?: string;
}

export const addressOf = ({ endpointId, address }: IrohGateway): Address => ({ endpointId, ipAddr: address });

/** A client's endpoint and a connection on it; the test's teardown keeps both referenced. */
export async function dial(t: Test, address: Address): Promise<Connection> {
  const builder = Endpoint.builder();
  presetMinimal(builder);
  builder.relayMode(
    address.relayUrl === undefined ? RelayMode.disabled() : RelayMode.customFromUrls([address.relayUrl]),
  );
  builder.bindAddr('127.0.0.1:0');
  const endpoint = await builder.bind();
  t.teardown(() => endpoint.close());
  const id = EndpointId.fromString(address.endpointId);
  const direct = address.ipAddr === undefined ? [] : [address.ipAddr];
  const connection = await endpoint.connect(new EndpointAddr(id, address.relayUrl ?? null, direct), ALPN);
  t.teardown(() => connection.close(0n, []));
  return connection;
}

export async function open(connection: Connection): Promise<IrohDuplex> {
  return new IrohDuplex(await connection.openBi());
}
