// Real gateways in front of a real server: TLS with a quick certificate, and iroh without relay or internet.
import { mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Far } from './far.ts';
import { freePort, startChild, type Child } from './child.ts';
import { bmuxOrThrow, realEnv, run, type RealServer } from './server.ts';

/** Whether the gateway compresses its streams; `zstd` is a gateway's default. */
export interface GatewayOptions {
  readonly compression?: 'zstd' | 'none';
}

export interface TlsGateway {
  readonly host: string;
  readonly port: number;
  /** The self-signed certificate for localhost, 127.0.0.1 and ::1. */
  readonly caFile: string;
  readonly serverName: 'localhost';
  readonly pid: number;
  /** Ends it and starts it again, after `awayMs`, on the same port and with the same certificate. */
  restart(signal?: NodeJS.Signals, awayMs?: number): Promise<TlsGateway>;
  /** SIGTERM. The server's connections that this gateway held are freed. */
  stop(): Promise<void>;
}

export interface IrohGateway {
  readonly endpointId: string;
  /** `IP:PORT` for a direct path. */
  readonly ipAddr: string;
  /** The URL that the gateway printed. */
  readonly url: string;
  readonly pid: number;
  /** Ends it and starts it again after `awayMs`, with another endpoint id. */
  restart(signal?: NodeJS.Signals, awayMs?: number): Promise<IrohGateway>;
  stop(): Promise<void>;
}

/** A gateway's own folders, with the server's runtime dir: a gateway finds its server there. */
async function gatewayEnv(server: RealServer, options: GatewayOptions): Promise<Record<string, string>> {
  const folder = await mkdtemp(join(server.folder, 'gateway-'));
  const env = await realEnv(folder);
  env['BMUX_RUNTIME_DIR'] = server.env['BMUX_RUNTIME_DIR'] ?? '';
  if (options.compression === 'none') {
    await writeFile(
      join(env['BMUX_CONFIG_DIR'] ?? folder, 'bmux.toml'),
      '[behavior.compression]\nenabled = false\n',
    );
  }
  return env;
}

/** Where a gateway runs. */
type Host = Pick<Far, 'host' | 'command'>;

const HERE: Host = { host: '127.0.0.1', command: [] };

/** Starts a real TLS gateway on a free port of loopback, or of the host `on`. */
export async function startTlsGateway(
  server: RealServer,
  options: GatewayOptions = {},
  on = HERE,
): Promise<TlsGateway> {
  return runTlsGateway(await gatewayEnv(server, options), await freePort(), on);
}

async function runTlsGateway(
  env: Readonly<Record<string, string>>,
  port: number,
  on: Host,
): Promise<TlsGateway> {
  const { host } = on;
  const gateway = ['server', 'gateway', '--listen', `${host}:${String(port)}`, '--quick'];
  const [command = '', ...args] = [...on.command, bmuxOrThrow(), ...gateway];
  const child = await startChild({
    command,
    args,
    env,
    ready: (output) => output.includes('TLS gateway listening on'),
  });
  return {
    host,
    port,
    caFile: join(env['BMUX_DATA_DIR'] ?? '', 'tls', 'gateway-quick-cert.pem'),
    serverName: 'localhost',
    pid: child.pid,
    restart: async (signal, awayMs = 0) => {
      await child.stop(signal);
      await setTimeout(awayMs);
      return runTlsGateway(env, port, on);
    },
    stop: () => child.stop(),
  };
}

/** Also `sshAuth`: public key lines whose owners may connect; the gateway then requires SSH auth. */
export interface IrohGatewayOptions extends GatewayOptions {
  readonly sshAuth?: readonly string[];
}

/** Starts a real iroh gateway that is reached directly. */
export async function startIrohGateway(
  server: RealServer,
  options: IrohGatewayOptions = {},
  on = HERE,
): Promise<IrohGateway> {
  const program = bmuxOrThrow();
  const env = await gatewayEnv(server, options);
  if (options.sshAuth !== undefined) {
    const keys = options.sshAuth.flatMap((line) => ['--public-key', line]);
    for (const args of [
      ['access', 'add', ...keys],
      ['access', 'enable'],
    ]) {
      const ran = await run(program, args, env);
      if (ran.status !== 0) throw new Error(`bmux ${args.join(' ')}: ${ran.stderr}${ran.stdout}`);
    }
  }
  return runIrohGateway(env, on);
}

async function runIrohGateway(env: Readonly<Record<string, string>>, on: Host): Promise<IrohGateway> {
  const gateway = ['server', 'gateway', '--listen', `${on.host}:1`, '--host'];
  const [command = '', ...args] = [...on.command, bmuxOrThrow(), ...gateway];
  const child: Child = await startChild({
    command,
    args,
    env: { ...env, BMUX_IROH_DIRECT_BIND: `${on.host}:0` },
    ready: (output) => /connect URL: \S+\s/.test(output),
  });
  const url = /connect URL: (\S+)/.exec(child.output())?.[1] ?? '';
  const parsed = /^iroh:\/\/([0-9a-z]+)\?.*?addr=([^&\s]+)/.exec(url);
  return {
    endpointId: parsed?.[1] ?? '',
    ipAddr: parsed?.[2] ?? '',
    url,
    pid: child.pid,
    restart: async (signal, awayMs = 0) => {
      await child.stop(signal);
      await setTimeout(awayMs);
      return runIrohGateway(env, on);
    },
    stop: () => child.stop(),
  };
}
