// A real server behind gateways of each kind, and a bmux.toml with a target for each gateway.
import {
  hasSshAgent,
  startAgent,
  startIrohGateway,
  startServer,
  sshdMissing,
  startSshd,
  startTlsGateway,
  type RealServer,
  type RealSshd,
} from '../real/index.ts';
import { bmuxOrThrow } from '../real/server.ts';

export interface RealWays {
  readonly server: RealServer;
  /** bmux.toml with all targets. */
  readonly config: string;
  /** Names of its targets. */
  readonly targets: readonly string[];
  /** SSH_AUTH_SOCK of the agent with the key that the target `iroh-ssh` needs, and the PATH with the `ssh` for the target `ssh`. */
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

/** A target of bmux.toml. */
export function targetToml(
  name: string,
  fields: Readonly<Record<string, string | number | boolean | undefined>>,
): string {
  const lines = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  return [`[connections.targets.${JSON.stringify(name)}]`, ...lines, ''].join('\n');
}

/** A target that is reached through `sshd`, with the real bmux there. `identity`: path of another key than its own. */
export function sshToml(name: string, sshd: RealSshd, identity = sshd.identity): string {
  return targetToml(name, {
    transport: 'ssh',
    host: '127.0.0.1',
    port: sshd.port,
    identity_file: identity,
    known_hosts_file: sshd.knownHosts,
    remote_bmux_path: bmuxOrThrow(),
  });
}

/** Starts a real server, and gateways of each kind in front of it: TLS with and without compression, iroh, iroh with SSH auth, and an sshd. */
export async function startRealWays(): Promise<RealWays> {
  const server = await startServer();
  const stops: (() => Promise<void>)[] = [() => server.stop()];
  const stop = async (): Promise<void> => {
    for (const one of stops.splice(0).reverse()) await one();
  };
  try {
    const tomls: string[] = [];
    for (const compression of ['zstd', 'none'] as const) {
      const gateway = await startTlsGateway(server, { compression });
      stops.push(() => gateway.stop());
      const { host, port, serverName, caFile } = gateway;
      tomls.push(
        targetToml(`tls-${compression}`, {
          transport: 'tls',
          host,
          port,
          server_name: serverName,
          ca_file: caFile,
        }),
      );
    }
    const agent = hasSshAgent() ? await startAgent() : undefined;
    if (agent !== undefined) stops.push(() => agent.stop());
    for (const sshAuth of agent === undefined ? [undefined] : [undefined, agent]) {
      const keys = sshAuth === undefined ? undefined : [await sshAuth.addKey('ed25519', 'target sockets')];
      const gateway = await startIrohGateway(server, keys === undefined ? {} : { sshAuth: keys });
      stops.push(() => gateway.stop());
      tomls.push(
        targetToml(sshAuth === undefined ? 'iroh' : 'iroh-ssh', {
          transport: 'iroh',
          endpoint_id: gateway.endpointId,
          iroh_ip_addr: gateway.ipAddr,
          iroh_ssh_auth: sshAuth === undefined ? undefined : true,
        }),
      );
    }
    const sshd = sshdMissing() === false ? await startSshd({ env: server.env }) : undefined;
    if (sshd !== undefined) {
      stops.push(() => sshd.stop());
      tomls.push(sshToml('ssh', sshd));
    }
    return {
      server,
      config: tomls.join('\n'),
      targets: tomls.map((toml) => /targets\."([^"]+)"/.exec(toml)?.[1] ?? ''),
      env: {
        ...(agent === undefined ? {} : { SSH_AUTH_SOCK: agent.socket }),
        ...(sshd === undefined ? {} : { PATH: sshd.path }),
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
