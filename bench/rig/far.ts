// The far ends of the measures: a server and its gateway. Real programs where they are installed and suitable, else embedded ones.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IrohRoute } from '../../daemon/engine-protocol/plan.ts';
import { startDelayProxy } from '../../test/embedded/delay-proxy.ts';
import { launchEmbedded } from '../../test/embedded/launch.ts';
import type { EmbeddedOptions } from '../../test/embedded/options.ts';
import * as real from '../../test/real/index.ts';
import { dialIroh, dialLocal, dialTls, type Plain } from './plain.ts';
import { Skip } from '../measure.ts';
import { startTcpPath, type Path } from './path.ts';

export const WAYS = ['local', 'TLS zstd', 'TLS plain', 'iroh', 'iroh with SSH auth'] as const;
export type Way = (typeof WAYS)[number];

export interface FarOptions {
  readonly way: Way;
  /** True: embedded even if the real one is installed, for more than 64 connections or for its source and sink. */
  readonly embedded?: boolean;
  /** ms of simulated round trip, TLS only; it also delays the TCP handshake. */
  readonly roundTripMs?: number;
  /** Epoch of an embedded server; default 4. */
  readonly epoch?: 3 | 4;
  /** The comments of the agent's keys, the first of which the host takes. SSH auth only. */
  readonly comments?: readonly string[];
}

export interface Far {
  readonly way: Way;
  readonly server: 'real bmux' | 'embedded server';
  /** The target's name for the broker. */
  readonly target: string;
  /** bmux.toml of a client that knows the target. */
  readonly config: string;
  /** Additional variables for a caller and the daemon. */
  readonly env: Readonly<Record<string, string>>;
  /** The server's own socket: a connection without a transport. */
  readonly socketPath: string;
  /** The environment of a real client of this server; empty for an embedded server. */
  readonly clientEnv: Readonly<Record<string, string>>;
  /** Makes a new connection without a broker, as a short-lived client does; resolves when the first byte may be written. */
  readonly plain: () => Promise<Plain>;
  /** A path with the same delay, where a round trip is simulated. */
  readonly path?: Path;
  /** Another address for the same gateway, with the same round trip: a target unknown to every daemon. TLS only. */
  readonly unknown: (name: string) => Promise<string>;
  stop(): Promise<void>;
}

/** bmuxd.toml for all measures: an iroh endpoint that stays on this machine. */
export const SETTINGS = "[iroh]\nrelays = 'disabled'\n";

/** Throws a Skip when `way` is not possible on this machine. */
function checkWay(way: Way): void {
  if (way === 'iroh with SSH auth' && !real.hasSshAgent()) throw new Skip('no ssh-agent here');
}

export async function startFar(options: FarOptions): Promise<Far> {
  checkWay(options.way);
  const ends: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const end of ends.splice(0).reverse()) await end().catch(() => undefined);
  };
  try {
    const useReal = options.embedded !== true && options.epoch === undefined && real.realBmux() !== undefined;
    const far = useReal ? await startReal(options, ends) : await startEmbedded(options, ends);
    return { ...far, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

type Ends = (() => Promise<unknown>)[];

async function startReal(options: FarOptions, ends: Ends): Promise<Omit<Far, 'stop'>> {
  const server = await real.startServer();
  ends.push(() => server.stop());
  const { way } = options;
  const common = { way, server: 'real bmux', socketPath: server.socketPath, clientEnv: server.env } as const;
  if (way === 'local')
    return { ...common, ...localFar(server.socketPath, server.env['BMUX_RUNTIME_DIR'] ?? '') };
  if (way === 'TLS zstd' || way === 'TLS plain') {
    const compression = way === 'TLS zstd' ? 'zstd' : 'none';
    const gateway = await real.startTlsGateway(server, { compression });
    ends.push(() => gateway.stop());
    return { ...common, ...(await tlsFar(gateway, gateway.caFile, options, ends)) };
  }
  const agent = way === 'iroh with SSH auth' ? await agentWithKeys(options, ends) : undefined;
  const gateway = await real.startIrohGateway(server, agent === undefined ? {} : { sshAuth: [agent.key] });
  ends.push(() => gateway.stop());
  return { ...common, ...irohFar(gateway, agent?.socket) };
}

async function startEmbedded(options: FarOptions, ends: Ends): Promise<Omit<Far, 'stop'>> {
  const { way, epoch } = options;
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-bench-'));
  ends.push(() => rm(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'server.sock');
  const agent = way === 'iroh with SSH auth' ? await agentWithKeys(options, ends) : undefined;
  const compression = way === 'TLS plain' ? 'none' : 'zstd';
  const asked: EmbeddedOptions = {
    socketPath,
    server: { epoch: epoch ?? 4, connections: 4096 },
    ...(way.startsWith('TLS') ? { tls: { compression } } : {}),
    ...(way.startsWith('iroh')
      ? { iroh: { relays: 'disabled', compression, ...(agent && { allowedKeys: [agent.key] }) } }
      : {}),
  };
  const embedded = await launchEmbedded(asked);
  ends.push(() => embedded.stop());
  const common = { way, server: 'embedded server', socketPath, clientEnv: {} } as const;
  if (embedded.tls !== undefined) {
    const caFile = join(folder, 'ca.pem');
    await writeFile(caFile, embedded.tls.certPem);
    return { ...common, ...(await tlsFar(embedded.tls, caFile, options, ends)) };
  }
  if (embedded.iroh !== undefined) {
    const { endpointId, address: ipAddr } = embedded.iroh;
    return { ...common, ...irohFar({ endpointId, ipAddr }, agent?.socket) };
  }
  return { ...common, ...localFar(socketPath, folder) };
}

type WayPart = Pick<Far, 'target' | 'config' | 'env' | 'plain' | 'path' | 'unknown'>;

const noOther = (): Promise<string> => Promise.reject(new Skip('only a TLS target gets another address'));

function localFar(socketPath: string, runtimeDir: string): WayPart {
  return {
    target: 'local',
    config: '',
    env: { BMUX_RUNTIME_DIR: runtimeDir },
    plain: () => dialLocal(socketPath),
    unknown: noOther,
  };
}

/** `[connections.targets.NAME]` of a TLS target. */
export function tlsTarget(name: string, port: number, caFile: string): string {
  return `[connections.targets.${name}]\ntransport = "tls"\nhost = "127.0.0.1"\nport = ${String(port)}\nserver_name = "localhost"\nca_file = "${caFile}"\n`;
}

async function tlsFar(
  gateway: { readonly host: string; readonly port: number },
  caFile: string,
  options: FarOptions,
  ends: Ends,
): Promise<WayPart> {
  const ca = await readFile(caFile, 'utf8');
  const proxied = async (): Promise<number> => {
    const { roundTripMs } = options;
    if (roundTripMs === undefined) return gateway.port;
    const to = { host: gateway.host, port: gateway.port };
    const proxy = await startDelayProxy({ to, roundTripMs, handshake: true });
    ends.push(() => proxy.stop());
    return proxy.port;
  };
  const port = await proxied();
  const path = options.roundTripMs === undefined ? undefined : await startTcpPath(options.roundTripMs);
  if (path !== undefined) ends.push(() => path.stop());
  const compression = options.way === 'TLS zstd' ? 'zstd' : 'none';
  return {
    target: 'far',
    config: tlsTarget('far', port, caFile),
    env: {},
    plain: () => dialTls({ port, ca, compression }),
    ...(path === undefined ? {} : { path }),
    unknown: async (name) => tlsTarget(name, await proxied(), caFile),
  };
}

function irohFar(
  gateway: { readonly endpointId: string; readonly ipAddr: string },
  agentSocket: string | undefined,
): WayPart {
  const { endpointId, ipAddr } = gateway;
  const sshAuth = agentSocket !== undefined;
  const route: IrohRoute = {
    transport: 'iroh',
    endpointId,
    ipAddr,
    sshAuth,
    ...(sshAuth ? { agentSocket } : {}),
  };
  return {
    target: 'far',
    config: `[connections.targets.far]\ntransport = "iroh"\nendpoint_id = "${endpointId}"\niroh_ip_addr = "${ipAddr}"\niroh_ssh_auth = ${String(sshAuth)}\n`,
    env: sshAuth ? { SSH_AUTH_SOCK: agentSocket } : {},
    plain: () => dialIroh(route, 'zstd'),
    unknown: noOther,
  };
}

async function agentWithKeys(
  { comments: [first = 'bench', ...others] = [] }: FarOptions,
  ends: Ends,
): Promise<{ readonly socket: string; readonly key: string }> {
  const agent = await real.startAgent();
  ends.push(() => agent.stop());
  const key = await agent.addKey('ed25519', first);
  for (const comment of others) await agent.addKey('ed25519', comment);
  return { socket: agent.socket, key };
}
