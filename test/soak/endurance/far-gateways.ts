// Five targets whose gateways can be started again: real ones where the real programs are installed, else embedded ones.
import {
  canCountConnections,
  hasSshAgent,
  learn,
  connectionsHeld,
  realBmux,
  realRelay,
  startAgent,
  startIrohGateway,
  startRelay,
  startServer,
  startTlsGateway,
} from '../../real/index.ts';
import { embeddedIroh, embeddedTls, type Held } from './embedded-gateways.ts';
import { configured, linked, SESSION, type FarGateway } from './far-gateway.ts';

export interface FarGateways {
  readonly gateways: readonly FarGateway[];
  /** For bmuxd.toml. */
  readonly relays: string;
  /** Environment for callers: the agent. */
  readonly env: Readonly<Record<string, string>>;
  /** Connections that the servers hold now; undefined where they cannot be counted. */
  readonly held: () => Promise<number | undefined>;
  readonly stop: () => Promise<void>;
}

/** Starts them all; `folder` is for their files. */
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
      if (canCountConnections()) held.push(() => connectionsHeld(server));
      const made = await server.bmux(['new-session', '-n', SESSION]);
      if (made.status !== 0) throw new Error(`bmux new-session: ${made.stderr}`);
      const sessions = await learn(server, ['list-sessions']);
      for (const compression of ['zstd', 'none'] as const) {
        let gateway = await startTlsGateway(server, { compression });
        stops.push(() => gateway.stop());
        const target = `tls-${compression}`;
        const { host, port, serverName, caFile } = gateway;
        const fields = { transport: 'tls', host, port, server_name: serverName, ca_file: caFile };
        gateways.push({
          ...configured(target, fields),
          restart: async (...how) => {
            gateway = await gateway.restart(...how);
          },
          sessions,
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
        gateways.push({
          ...linked(`iroh${String(gateways.length)}`, () => gateway.url),
          restart: async (...how) => {
            gateway = await gateway.restart(...how);
          },
          sessions,
        });
      }
    }
    gateways.push(await embeddedIroh(folder, 'relayed', relay?.url, stops, held));
    return {
      gateways,
      relays: relay === undefined ? '"disabled"' : JSON.stringify([relay.url]),
      env,
      held: async () => {
        if (realBmux() !== undefined && !canCountConnections()) return undefined;
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
