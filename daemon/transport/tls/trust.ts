// The trust of a TLS target: the system's roots and its ca_file, as one cached SecureContext.
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import { fail } from '../../errors/fail.ts';
import type { TlsRoute } from '../../engine-protocol/plan.ts';
import { pemCertificates, PemError, pemOf } from './pem.ts';
import type { SystemRoots } from './roots.ts';
import { LruMap } from '../../base/lru-map.ts';

/** Largest CA file, bytes: a CA bundle of bmux has a few certificates; the largest system bundle has about 250 KiB. */
const CA_FILE_MAX = 4 << 20;

/** Trust settings of one route at one time. Equal `key`s mean equal verification. */
export interface Trust {
  readonly key: string;
  /** Makes the context. This takes 20 ms and more, so call it only when none is cached. */
  readonly make: () => SecureContext;
}

async function readCaFile(path: string): Promise<{ stamp: string; read: () => Promise<string> }> {
  try {
    const found = await stat(path);
    // Reading a pipe would block for ever.
    if (!found.isFile()) throw new Error('not a regular file');
    if (found.size > CA_FILE_MAX) throw new Error(`larger than ${String(CA_FILE_MAX)} bytes`);
    const stamp = `${String(found.mtimeMs)}-${String(found.size)}-${String(found.ino)}`;
    return { stamp, read: () => readFile(path, 'utf8') };
  } catch (cause) {
    throw fail('ca_unreadable', { path }, cause);
  }
}

async function caCertificates(path: string, read: () => Promise<string>): Promise<string[]> {
  let text: string;
  try {
    text = await read();
  } catch (cause) {
    throw fail('ca_unreadable', { path }, cause);
  }
  try {
    return pemCertificates(text).map(pemOf);
  } catch (cause) {
    const code = cause instanceof PemError && cause.kind === 'framing' ? 'ca_unparsable' : 'ca_unaddable';
    throw fail(code, { path }, cause);
  }
}

/** Caches the CA files by path; a file is read again when its time stamp, size or inode changes. */
export class CaFiles {
  readonly #known: LruMap<string, { stamp: string; pem: string[] }>;

  constructor(max: number) {
    this.#known = new LruMap(max);
  }

  /** Returns certificates and stamp of `path`. Rejects with ca_unreadable, ca_unparsable, ca_unaddable. */
  async current(path: string): Promise<{ stamp: string; pem: readonly string[] }> {
    const { stamp, read } = await readCaFile(path);
    const known = this.#known.get(path);
    if (known !== undefined && known.stamp === stamp) return known;
    const fresh = { stamp, pem: await caCertificates(path, read) };
    this.#known.set(path, fresh);
    return fresh;
  }
}

/** Returns the current trust of `route`. Rejects with one of the ca_* failures or tls_roots_missing, in that order. */
export async function trustOf(
  route: TlsRoute,
  label: string,
  sources: { roots: SystemRoots; caFiles: CaFiles },
): Promise<Trust> {
  const ca = route.caFile === undefined ? undefined : await sources.caFiles.current(route.caFile);
  const roots = await sources.roots.current();
  if (roots.pem.length === 0 && (ca?.pem.length ?? 0) === 0) throw fail('tls_roots_missing', { label });
  return {
    key: JSON.stringify([roots.version, route.caFile ?? null, ca?.stamp ?? null]),
    make: () =>
      createSecureContext({
        ca: [...roots.pem, ...(ca?.pem ?? [])],
        minVersion: 'TLSv1.2',
        // As in webpki, every trusted certificate is an anchor, also a self-signed or intermediate one.
        allowPartialTrustChain: true,
      }),
  };
}
