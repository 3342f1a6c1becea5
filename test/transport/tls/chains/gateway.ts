// A gateway that presents a chain of certificates, and the outcome of bmuxd on it.
import { createServer } from 'node:tls';
import { Deadline } from '../../../../daemon/base/async/deadline.ts';
import { Failure } from '../../../../daemon/base/failure.ts';
import { endGracefully } from '../../../../daemon/transport/end.ts';
import type { TlsContexts } from '../../../../daemon/transport/tls/tls.ts';
import type { ChainCase } from './cases.ts';

export interface Outcome {
  readonly accepted: boolean;
  readonly text: string;
}

export interface Gateway {
  readonly port: number;
  /** Number of handshakes that the peer has completed. */
  readonly accepted: () => number;
  readonly close: () => void;
}

/** Starts the gateway. It ends each connection after the handshake. */
export async function gatewayOf({ chain }: Pick<ChainCase, 'chain'>): Promise<Gateway> {
  let accepted = 0;
  const [own] = chain;
  if (own === undefined) throw new Error('an empty chain');
  const server = createServer(
    {
      cert: chain.map(({ pem }) => pem).join(''),
      key: own.keys.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      ciphers: 'DEFAULT@SECLEVEL=0',
    },
    (socket) => {
      accepted += 1;
      socket.on('error', () => undefined);
      socket.end();
    },
  );
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { port: address.port, accepted: () => accepted, close: () => server.close() };
}

/** Opens a stream to the gateway of `one`. Without `caFile` the roots of `contexts` count alone. */
export async function ownOutcome(
  contexts: TlsContexts,
  one: Pick<ChainCase, 'serverName'>,
  { port }: Pick<Gateway, 'port'>,
  caFile?: string,
): Promise<Outcome> {
  const serverName = one.serverName ?? 'gateway.test';
  const route = {
    transport: 'tls',
    host: '127.0.0.1',
    port,
    serverName,
    ...(caFile === undefined ? {} : { caFile }),
  } as const;
  const limits = { deadline: new Deadline(20_000), signal: new AbortController().signal };
  try {
    const { stream } = await contexts.open(route, 'gw', limits);
    await endGracefully(stream, 1000);
    return { accepted: true, text: '' };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const { detail, causes, remedy } = error.data;
    return { accepted: false, text: [detail, ...causes, remedy].join(': ') };
  }
}
