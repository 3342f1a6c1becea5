// The address of a server, the key of everything that is known about it. A target's name is never the key (docs/decisions/two-epochs.md).
import type { Route } from './plan.ts';

/**
 * The address that a route leads to: `local:PATH`, `tls:HOST:PORT`, `iroh:ENDPOINT_ID` or `ssh:[USER@]HOST[:PORT]`. IPv6 hosts are in
 * brackets. When the TLS server name is not the host, it is appended as `/NAME`: one host and port may lead to several servers. So are a jump
 * host and another bmux of an SSH target.
 */
export function addressOf(route: Route): string {
  switch (route.transport) {
    case 'local':
      return `local:${route.socketPath}`;
    case 'tls': {
      const { host, port, serverName } = route;
      const name = serverName === host ? '' : `/${serverName}`;
      return `tls:${bracketed(host)}:${String(port)}${name}`;
    }
    case 'ssh': {
      const { host, user, port, jump, remoteBmuxPath } = route;
      const at = user === undefined ? '' : `${user}@`;
      const behind = port === undefined ? '' : `:${String(port)}`;
      const way = jump === undefined ? '' : ` via ${jump}`;
      const program = remoteBmuxPath === 'bmux' ? '' : ` ${remoteBmuxPath}`;
      return `ssh:${at}${bracketed(host)}${behind}${way}${program}`;
    }
    case 'iroh':
      return `iroh:${route.endpointId}`;
  }
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
