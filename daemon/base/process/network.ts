// Whether this machine has a network at all.
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os';
import { inTime } from '../async/deadline.ts';

/** An address that reaches no further than one link, RFC 3927 and RFC 4291. */
const LINK_LOCAL = /^(169\.254\.|fe[89ab][0-9a-f]:)/i;

/** As `os.networkInterfaces()` gives them. */
export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/** The interfaces of this machine; undefined when they cannot be read, as without a free file descriptor. */
export function interfaces(): Interfaces | undefined {
  try {
    return networkInterfaces();
  } catch {
    return undefined;
  }
}

/** True when no interface has an address for other machines. Loopback still works then. */
export function isOffline(): boolean {
  const all = interfaces();
  if (all === undefined) return false;
  const addresses = Object.values(all).flatMap((of = []) => of);
  return !addresses.some(({ internal, address }) => !internal && !LINK_LOCAL.test(address));
}

/** ms for the lookup of a name on a machine without a network; a file of the system answers at once. */
const LOOKUP_MS = 500;

/** True when `host` is an address of this machine's loopback, or a name that leads there. Never rejects. */
export async function isLoopback(host: string): Promise<boolean> {
  if (isIP(host) !== 0) return host === '::1' || host.startsWith('127.');
  const found = lookup(host).then(({ address }) => isLoopback(address));
  return inTime(found, LOOKUP_MS, () => new Error('late')).catch(() => false);
}
