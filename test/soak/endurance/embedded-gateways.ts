// Gateways of this repository, each with its own server: used where the real programs are missing, and behind a relay.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { launchEmbedded, type Embedded } from '../../embedded/launch.ts';
import type { EmbeddedOptions } from '../../embedded/options.ts';
import { freePort } from '../../real/index.ts';
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
  const writeCa = ({ tls }: Embedded): Promise<void> => writeFile(caFile, tls?.certPem ?? '');
  const gateway = await launch(options, stops, held);
  await writeCa(gateway.now());
  const fields = {
    transport: 'tls',
    host: '127.0.0.1',
    port: gateway.now().tls?.port,
    server_name: 'localhost',
    ca_file: caFile,
  };
  return {
    ...configured(target, fields),
    restart: async (signal, awayMs) => writeCa(await gateway.restart(signal, awayMs)),
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
  const gateway = await launch(options, stops, held);
  const url = (): string => {
    const { endpointId = '', address = '' } = gateway.now().iroh ?? {};
    return `iroh://${endpointId}?${relay === undefined ? `addr=${address}` : `relay=${relay}`}`;
  };
  return {
    ...linked(name, url),
    restart: async (signal, awayMs) => {
      await gateway.restart(signal, awayMs);
    },
  };
}

/** Launches an embedded process that can be restarted; adds its stop to `stops` and its count of connections to `held`. */
async function launch(options: EmbeddedOptions, stops: (() => Promise<void>)[], held: Held[]) {
  let embedded = await launchEmbedded(options);
  stops.push(() => embedded.stop());
  held.push(async () => (await embedded.status()).connections);
  return {
    now: (): Embedded => embedded,
    restart: async (signal: NodeJS.Signals, awayMs: number): Promise<Embedded> => {
      await (signal === 'SIGKILL' ? embedded.kill() : embedded.stop());
      await setTimeout(awayMs);
      embedded = await launchEmbedded(options);
      return embedded;
    },
  };
}
