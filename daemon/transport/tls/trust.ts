// What a TLS target is verified against: the system's roots and its ca_file, as one SecureContext that is kept.
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import { fail } from '../../errors/fail.ts';
import type { TlsRoute } from '../../engine-protocol/plan.ts';
import { pemCertificates, PemError, pemOf } from './pem.ts';
import type { SystemRoots } from './roots.ts';

/** A CA bundle of bmux is one certificate or a few; the system's largest is some 250 KiB. */
const CA_FILE_MAX = 4 << 20;

/** Trust settings of one route at one time. `key` names them completely: two equal keys verify alike. */
export interface Trust {
  readonly key: string;
  /** Makes the context; 20 ms and more, so only when no kept one fits. */
  readonly make: () => SecureContext;
}

async function readCaFile(path: string): Promise<{ stamp: string; read: () => Promise<string> }> {
  try {
    const found = await stat(path);
    // A pipe would make the reading wait for ever.
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

/** The CA file, last read, by path: read again when its time stamp, size or inode changes. */
export class CaFiles {
  readonly #known = new Map<string, { stamp: string; pem: string[] }>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  /** Certificates and stamp of `path`. Rejects with ca_unreadable, ca_unparsable, ca_unaddable. */
  async current(path: string): Promise<{ stamp: string; pem: readonly string[] }> {
    const { stamp, read } = await readCaFile(path);
    const known = this.#known.get(path);
    if (known !== undefined && known.stamp === stamp) return known;
    const fresh = { stamp, pem: await caCertificates(path, read) };
    this.#known.delete(path);
    this.#known.set(path, fresh);
    if (this.#known.size > this.#max) {
      const oldest = this.#known.keys().next().value;
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    return fresh;
  }
}

/** The trust of `route` now. Rejects with one of the ca_* failures or tls_roots_missing, in that order. */
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
        // As in webpki, every certificate that is trusted is an anchor, a self-signed or intermediate one too.
        allowPartialTrustChain: true,
      }),
  };
}
