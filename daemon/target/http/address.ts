// Host, port and server name of an HTTP URL, as the functions of `node:net` and `node:tls` take them.
import { isIP } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';

/** What is trusted of a server's certificate; the platform's own trust where it is empty. */
type TlsTrust = Pick<
  ConnectionOptions,
  'ca' | 'secureContext' | 'checkServerIdentity' | 'rejectUnauthorized'
>;

/**
 * Returns a connection to `host` whose certificate is verified. `connect` makes one, with the handshake done; it is called again when another
 * trust anchor may verify the server.
 */
export type VerifiedTls = (
  host: string,
  connect: (trust: TlsTrust) => Promise<TLSSocket>,
) => Promise<TLSSocket>;

/** ms that each address of a name gets while another one is left. The default of 250 ms is shorter than some round trips. */
const ADDRESS_MS = 1000;

export interface Address {
  readonly host: string;
  readonly port: number;
  readonly autoSelectFamilyAttemptTimeout: number;
}

export function dialAddress(url: URL): Address {
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
  // Node takes 0 for the port of the scheme.
  if (port === 0) throw new Error('nothing can be reached at port 0');
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port, autoSelectFamilyAttemptTimeout: ADDRESS_MS };
}

/** The name for SNI; empty for an IP address. */
export function serverNameOf(url: URL): string {
  const { host } = dialAddress(url);
  return isIP(host) === 0 ? host : '';
}
