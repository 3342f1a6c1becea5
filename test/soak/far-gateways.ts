// Five targets whose gateways can be started again: the real ones where the real programs are, embedded ones elsewhere.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { targetToml } from '../doors/ways.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import type { EmbeddedOptions } from '../embedded/options.ts';
import {
  canCountPlaces,
  freePort,
  hasSshAgent,
  placesHeld,
  realBmux,
  realRelay,
  startAgent,
  startIrohGateway,
  startRelay,
  startServer,
  startTlsGateway,
} from '../real/index.ts';

/** One target. */
export interface FarGateway {
  readonly target: string;
  /** What bmux.toml says of it now: an iroh host is another endpoint after each start, and is reached through a share link. */
  readonly config: () => { readonly table: string; readonly text: string };
  /** Ends it and starts it again. */
  readonly restart: (signal: NodeJS.Signals) => Promise<void>;
}

export interface FarGateways {
  readonly gateways: readonly FarGateway[];
  /** For bmuxd.toml. */
  readonly relays: string;
  /** For callers: the agent. */
  readonly env: Readonly<Record<string, string>>;
  /** Connections that the servers hold now; undefined where nobody can tell. */
  readonly held: () => Promise<number | undefined>;
  readonly stop: () => Promise<void>;
}

const link = (name: string, url: string) => ({ table: 'links', text: `${name} = ${JSON.stringify(url)}\n` });

type Held = () => Promise<number>;

/** Starts them all; `folder` takes what they need. */
export async function startFarGateways(folder: string): Promise<FarGateways> {
  const stops: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const end of stops.splice(0).reverse()) await end();
  };
  try {
    const relay = realRelay() === undefined ? undefined : await startRelay();
    if (relay !== undefined) stops.push(() => relay.stop());
    const held: Held[] = [];
    const gateways: FarGateway[] = [];
    let env: Readonly<Record<string, string>> = {};
    if (realBmux() === undefined) {
      for (const compression of ['zstd', 'none'] as const) {
        gateways.push(await embeddedTls(folder, compression, stops, held));
        gateways.push(await embeddedIroh(folder, `iroh-${compression}`, undefined, stops, held));
      }
    } else {
      const server = await startServer();
      stops.push(() => server.stop());
      if (canCountPlaces()) held.push(() => placesHeld(server));
      for (const compression of ['zstd', 'none'] as const) {
        let gateway = await startTlsGateway(server, { compression });
        stops.push(() => gateway.stop());
        const target = `tls-${compression}`;
        const { host, port, serverName, caFile } = gateway;
        const fields = { transport: 'tls', host, port, server_name: serverName, ca_file: caFile };
        gateways.push({
          target,
          config: () => ({ table: 'targets', text: targetToml(target, fields) }),
          restart: async (signal) => {
            gateway = await gateway.restart(signal);
          },
        });
      }
      const agent = hasSshAgent() ? await startAgent() : undefined;
      if (agent !== undefined) {
        stops.push(() => agent.stop());
        env = { SSH_AUTH_SOCK: agent.socket };
      }
      for (const keys of [undefined, agent && [await agent.addKey('ed25519', 'soak')]]) {
        let gateway = await startIrohGateway(server, keys === undefined ? {} : { sshAuth: keys });
        stops.push(() => gateway.stop());
        const name = `iroh${String(gateways.length)}`;
        gateways.push({
          target: `bmux://${name}`,
          config: () => link(name, gateway.url),
          restart: async (signal) => {
            gateway = await gateway.restart(signal);
          },
        });
      }
    }
    gateways.push(await embeddedIroh(folder, 'relayed', relay?.url, stops, held));
    return {
      gateways,
      relays: relay === undefined ? '"disabled"' : JSON.stringify([relay.url]),
      env,
      held: async () => {
        if (realBmux() !== undefined && !canCountPlaces()) return undefined;
        const counts = await Promise.all(held.map((count) => count()));
        return counts.reduce((sum, count) => sum + count, 0);
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function embeddedTls(
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
    target,
    config: () => ({ table: 'targets', text: targetToml(target, fields) }),
    restart: async (signal) => {
      await (signal === 'SIGKILL' ? embedded.kill() : embedded.stop());
      embedded = await launchEmbedded(options);
      await writeFile(caFile, embedded.tls?.certPem ?? '');
    },
  };
}

async function embeddedIroh(
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
  return {
    target: `bmux://${name}`,
    config: () => {
      const { endpointId = '', address = '' } = embedded.iroh ?? {};
      const query = relay === undefined ? `addr=${address}` : `relay=${relay}`;
      return link(name, `iroh://${endpointId}?${query}`);
    },
    restart: async (signal) => {
      await (signal === 'SIGKILL' ? embedded.kill() : embedded.stop());
      embedded = await launchEmbedded(options);
    },
  };
}
