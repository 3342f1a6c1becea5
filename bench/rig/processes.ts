// Starts the bench's own small programs: each is a process that prints one line of JSON when it is ready.
import { fileURLToPath } from 'node:url';
import { startChild, type Child } from '../../test/real/index.ts';
import type { BareAcceptOptions } from '../process/bare-accept.ts';
import type { BulkServerOptions, BulkServerReady } from '../process/bulk-server.ts';
import type { CrowdOptions } from '../process/crowd.ts';
import type { DownloadOptions } from '../process/download.ts';
import type { EchoesOptions } from '../process/echoes.ts';
import type { IdleOptions } from '../process/idle.ts';
import type { MuteGatewayReady } from '../process/mute-gateway.ts';
import type { PipelineRelayOptions } from '../process/pipeline-relay.ts';
import type { UdpRelayOptions, UdpRelayReady } from '../process/udp-relay.ts';

interface Programs {
  readonly 'bare-accept': { readonly options: BareAcceptOptions; readonly ready: object };
  readonly 'bulk-server': { readonly options: BulkServerOptions; readonly ready: BulkServerReady };
  readonly 'pipeline-relay': { readonly options: PipelineRelayOptions; readonly ready: object };
  readonly crowd: { readonly options: CrowdOptions; readonly ready: object };
  readonly 'mute-gateway': { readonly options: object; readonly ready: MuteGatewayReady };
  readonly echoes: { readonly options: EchoesOptions; readonly ready: object };
  readonly download: { readonly options: DownloadOptions; readonly ready: object };
  readonly 'udp-relay': { readonly options: UdpRelayOptions; readonly ready: UdpRelayReady };
  readonly idle: { readonly options: IdleOptions; readonly ready: object };
}

export interface Running<Ready> {
  readonly pid: number;
  readonly ready: Ready;
  stop(): Promise<void>;
}

/** The environment of the bench's programs. */
export function baseEnv(): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '', HOME: '/', TMPDIR: process.env['TMPDIR'] ?? '/tmp' };
}

export function programPath(name: string): string {
  return fileURLToPath(new URL(`../process/${name}.js`, import.meta.url));
}

const firstLine = (output: string): string | undefined => /^\{.*\}$/m.exec(output)?.[0];

export async function startProgram<N extends keyof Programs>(
  name: N,
  options: Programs[N]['options'],
  env: Readonly<Record<string, string>> = {},
): Promise<Running<Programs[N]['ready']>> {
  const child: Child = await startChild({
    command: process.execPath,
    args: [programPath(name), JSON.stringify(options)],
    env: { ...baseEnv(), ...env },
    ready: (output) => firstLine(output) !== undefined,
  });
  const ready = JSON.parse(firstLine(child.output()) ?? '{}') as Programs[N]['ready'];
  return { pid: child.pid, ready, stop: () => child.stop('SIGTERM', 3000) };
}
