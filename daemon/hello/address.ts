// The key of what is known about a server: its resolved address, never a target's name (design.md "Keys").
import type { Route } from '../wire/plan.ts';

/** `local:PATH`, `tls:HOST:PORT`, `iroh:ENDPOINT_ID`. */
export function addressOf(route: Route): string {
  switch (route.transport) {
    case 'local':
      return `local:${route.socketPath}`;
    case 'tls':
      return `tls:${route.host.includes(':') ? `[${route.host}]` : route.host}:${String(route.port)}`;
    case 'iroh':
      return `iroh:${route.endpointId}`;
  }
}
