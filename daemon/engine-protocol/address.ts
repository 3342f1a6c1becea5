// The key of what is known about a server: its resolved address, never a target's name (docs/decisions/two-epochs.md).
import type { Route } from './plan.ts';

/** `local:PATH`, `tls:HOST:PORT`, `iroh:ENDPOINT_ID`. Behind one host and port several servers may be told apart by the name: `tls:HOST:PORT/NAME`. */
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
