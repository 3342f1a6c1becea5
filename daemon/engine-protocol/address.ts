// The address of a server, the key of everything that is known about it. A target's name is never the key (docs/decisions/two-epochs.md).
import type { Route } from './plan.ts';

/**
 * The address that a route leads to: `local:PATH`, `tls:HOST:PORT` or `iroh:ENDPOINT_ID`. IPv6 hosts are in brackets. When the TLS server
 * name is not the host, it is appended as `/NAME`: one host and port may lead to several servers.
 */
export function addressOf(route: Route): string {
  switch (route.transport) {
    case 'local':
      return `local:${route.socketPath}`;
    case 'tls': {
      const { host, port, serverName } = route;
      const name = serverName === host ? '' : `/${serverName}`;
      return `tls:${host.includes(':') ? `[${host}]` : host}:${String(port)}${name}`;
    }
    case 'iroh':
      return `iroh:${route.endpointId}`;
  }
}
