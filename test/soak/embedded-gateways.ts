// Gateways of this repository, each with a server of its own: where the real programs are not, and behind a relay.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { launchEmbedded } from '../embedded/launch.ts';
import type { EmbeddedOptions } from '../embedded/options.ts';
import { freePort } from '../real/index.ts';
import { configured, linked, type FarGateway } from './far-gateway.ts';

/** Connections that a server holds now. */
export type Held = () => Promise<number>;

export async function embeddedTls(
  folder: string,
  compression: 'zstd' | 'none',
  stops: (() => Promise<void>)[],
  held: Held[],
): Promise<FarGateway> {
  const target = `tls-${compression}`;
  const options: EmbeddedOptions = {
    socketPath: join(folder, `${target}.sock`),
    server: { epoch: 4 },
    tls: { compression, listen: { host: '127.0.0.1', port: await freePort() } },
  };
  const caFile = join(folder, `${target}.pem`);
  let embedded = await launchEmbedded(options);
  stops.push(() => embedded.stop());
  held.push(async () => (await embedded.status()).connections);
  await writeFile(caFile, embedded.tls?.certPem ?? '');
  const fields = {
    transport: 'tls',
    host: '127.0.0.1',
    port: embedded.tls?.port,
    server_name: 'localhost',
    ca_file: caFile,
  };
  return {
    ...configured(target, fields),
    restart: async (signal, awayMs) => {
      await (signal === 'SIGKILL' ? embedded.kill() : embedded.stop());
      await setTimeout(awayMs);
      embedded = await launchEmbedded(options);
      await writeFile(caFile, embedded.tls?.certPem ?? '');
    },
  };
}

export async function embeddedIroh(
  folder: string,
  name: string,
  relay: string | undefined,
  stops: (() => Promise<void>)[],
  held: Held[],
): Promise<FarGateway> {
  const options: EmbeddedOptions = {
    socketPath: join(folder, `${name}.sock`),
    server: { epoch: 4 },
    iroh: { relays: relay === undefined ? 'disabled' : [relay], compression: 'zstd' },
  };
  let embedded = await launchEmbedded(options);
  stops.push(() => embedded.stop());
  held.push(async () => (await embedded.status()).connections);
  const url = (): string => {
    const { endpointId = '', address = '' } = embedded.iroh ?? {};
    return `iroh://${endpointId}?${relay === undefined ? `addr=${address}` : `relay=${relay}`}`;
  };
  return {
    ...linked(name, url),
    restart: async (signal, awayMs) => {
      await (signal === 'SIGKILL' ? embedded.kill() : embedded.stop());
      await setTimeout(awayMs);
      embedded = await launchEmbedded(options);
    },
  };
}
