// The servers of the demo: the embedded server behind a TLS and an iroh gateway on loopback, and behind a relay where one is installed.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { launchEmbedded, type Embedded } from '../embedded/launch.ts';
import { realRelay, startRelay, type RealRelay } from '../real/index.ts';

/** A path to the server, as a target of bmux.toml. */
export interface DemoTarget {
  readonly name: string;
  /** Its name in the printed table. */
  readonly way: string;
  /** Its table in bmux.toml; none for the local one. */
  readonly toml?: string;
}

export interface Servers {
  readonly targets: readonly DemoTarget[];
  /** bmuxd.toml: only our own relay is used. */
  readonly settings: string;
  /** What was left out, and why. */
  readonly skipped: readonly string[];
  stop(): Promise<void>;
}

/** Starts everything; `socketPath` is the socket of a local bmux server of the demo's runtime dir. */
export async function startServers(options: {
  readonly socketPath: string;
  readonly folder: string;
}): Promise<Servers> {
  const { socketPath, folder } = options;
  const started: { stop(): Promise<void> }[] = [];
  const stop = async (): Promise<void> => {
    for (const one of started.reverse()) await one.stop();
  };
  try {
    const embedded = await launchEmbedded({
      socketPath,
      server: { epoch: 'both' },
      tls: { compression: 'zstd' },
      iroh: { relays: 'disabled', compression: 'zstd' },
    });
    started.push(embedded);
    const caFile = join(folder, 'gateway.pem');
    await writeFile(caFile, embedded.tls?.certPem ?? '');
    const targets = [{ name: 'local', way: 'local' }, tlsTarget(embedded, caFile), irohTarget(embedded)];
    if (realRelay() === undefined) {
      return {
        targets,
        settings: '[iroh]\nrelays = "disabled"\n',
        skipped: ['iroh through a relay: there is no iroh-relay on PATH'],
        stop,
      };
    }
    const relay: RealRelay = await startRelay();
    started.push(relay);
    // The same server behind a second gateway, which only the relay can reach.
    const behind = await launchEmbedded({
      socketPath,
      iroh: { relays: [relay.url], compression: 'zstd' },
    });
    started.push(behind);
    return {
      targets: [...targets, relayTarget(behind, relay.url)],
      settings: `[iroh]\nrelays = [${JSON.stringify(relay.url)}]\n`,
      skipped: [],
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function tlsTarget({ tls }: Embedded, caFile: string): DemoTarget {
  return {
    name: 'demo-tls',
    way: 'TLS',
    toml: toml({
      transport: 'tls',
      host: tls?.host ?? '',
      port: tls?.port ?? 0,
      server_name: 'localhost',
      ca_file: caFile,
    }),
  };
}

function irohTarget({ iroh }: Embedded): DemoTarget {
  return {
    name: 'demo-iroh',
    way: 'iroh, direct',
    toml: toml({
      transport: 'iroh',
      endpoint_id: iroh?.endpointId ?? '',
      iroh_ip_addr: iroh?.address ?? '',
    }),
  };
}

function relayTarget({ iroh }: Embedded, relayUrl: string): DemoTarget {
  return {
    name: 'demo-relay',
    way: 'iroh, relay',
    toml: toml({ transport: 'iroh', endpoint_id: iroh?.endpointId ?? '', relay_url: relayUrl }),
  };
}

function toml(fields: Readonly<Record<string, string | number>>): string {
  return Object.entries(fields)
    .map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`)
    .join('');
}
