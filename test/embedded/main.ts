// The embedded server and its gateways as a separate process, so that the iroh binding is not loaded into the tested process. argv[2]:
// EmbeddedOptions as JSON. Prints one line of JSON when all listen; ends on SIGTERM, SIGINT or the end of stdin.
import { createInterface } from 'node:readline';
import { startDelayProxy, type DelayProxy } from './delay-proxy.ts';
import type { IrohGateway } from './gateways/iroh-gateway.ts';
import type { EmbeddedAddresses, EmbeddedCommand, EmbeddedOptions, EmbeddedStatus } from './options.ts';
import { EmbeddedServer } from './server/server.ts';
import { startTlsGateway, type TlsGateway } from './gateways/tls-gateway.ts';

const options = JSON.parse(process.argv[2] ?? '{}') as EmbeddedOptions;
const { socketPath } = options;

let server: EmbeddedServer | undefined =
  options.server && (await EmbeddedServer.start({ ...options.server, socketPath }));
const tls: TlsGateway | undefined = options.tls && (await startTlsGateway({ ...options.tls, socketPath }));
const proxy: DelayProxy | undefined =
  tls && options.tls?.roundTripMs !== undefined
    ? await startDelayProxy({
        to: { host: tls.host, port: tls.port },
        roundTripMs: options.tls.roundTripMs,
      })
    : undefined;
const iroh: IrohGateway | undefined = options.iroh && (await startIroh(options.iroh));

/** The binding is loaded only when needed: it is large and starts threads. */
async function startIroh(wanted: NonNullable<EmbeddedOptions['iroh']>): Promise<IrohGateway> {
  const { startIrohGateway } = await import('./gateways/iroh-gateway.ts');
  const { allowedKeys, ...rest } = wanted;
  const allowed = allowedKeys?.map((line) => ({ publicKeyOpenssh: line }));
  return startIrohGateway({ ...rest, socketPath, ...(allowed && { sshAuth: { allowed } }) });
}

const say = (line: unknown): void => {
  process.stdout.write(
    `${JSON.stringify(line, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value))}\n`,
  );
};

function status(): EmbeddedStatus {
  return {
    connections: server?.connections() ?? 0,
    server: server?.stats() ?? null,
    tls: tls?.stats() ?? null,
    iroh: iroh?.stats() ?? null,
  };
}

async function perform(command: EmbeddedCommand): Promise<unknown> {
  switch (command.do) {
    case 'status':
      return status();
    case 'hold':
      return server?.hold();
    case 'release':
      return server?.release();
    case 'drop-all':
      return server?.dropAll();
    case 'stop-server':
      return server?.stop();
    case 'start-server':
      await server?.stop();
      server = await EmbeddedServer.start({ ...command.server, socketPath });
      return undefined;
    case 'set-capabilities':
      return server?.setCapabilities(command.capabilities ?? undefined);
    case 'set-compression':
      tls?.setCompression(command.mode);
      return iroh?.setCompression(command.mode);
    case 'drop-iroh-connections':
      return iroh?.dropConnections();
    case 'blackhole':
      return proxy?.blackhole();
    case 'restore':
      return proxy?.restore();
  }
}

let stopping = false;
async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  // A peer that never ends must not keep the process running.
  setTimeout(() => process.exit(1), 5000).unref();
  await Promise.all([proxy?.stop(), tls?.stop(), iroh?.stop()]);
  await server?.stop();
  process.exit(0);
}

const input = createInterface({ input: process.stdin });
input.on('line', (line) => {
  const { id, ...command } = JSON.parse(line) as EmbeddedCommand & { readonly id: number };
  perform(command as EmbeddedCommand).then(
    (value) => say({ id, value: value ?? null }),
    (error: unknown) => say({ id, error: String(error) }),
  );
});
input.on('close', () => void stop());
process.on('SIGTERM', () => void stop());
process.on('SIGINT', () => void stop());

const addresses: EmbeddedAddresses = {
  pid: process.pid,
  socketPath,
  ...(tls && {
    tls: {
      host: proxy?.host ?? tls.host,
      port: proxy?.port ?? tls.port,
      certPem: tls.certificate.certPem,
      fingerprint: tls.certificate.fingerprint,
    },
  }),
  ...(iroh && {
    iroh: {
      endpointId: iroh.endpointId,
      address: iroh.address,
      ...(iroh.relayUrl === undefined ? {} : { relayUrl: iroh.relayUrl }),
      url: iroh.url,
    },
  }),
};
say(addresses);
