// The certificates that this system trusts. They are read again only when they change, because 20 ms for each connection is too much.
import { execFile } from 'node:child_process';
import { readdir, readFile, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import * as tls from 'node:tls';
import type { Env } from '../../base/paths.ts';
import { usableCertificates } from './pem.ts';
import { LIMITS } from '../../base/limits.ts';
import { SingleFlight } from '../../base/async/single-flight.ts';

/** Where distributions keep the bundle, in the order of openssl-probe (which bmux's rustls-native-certs uses). */
const BUNDLES: readonly string[] = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
  '/opt/etc/ssl/certs/ca-certificates.crt',
];

/** Maximum size of a bundle, bytes: a system bundle has about 200 KiB. */
const BUNDLE_MAX = 16 << 20;
const DIRECTORY_FILES_MAX = 2000;
/** Minimum time between two reads of the keychain, ms: it has no time stamp to compare. */
const KEYCHAIN_AGE_MS = 3_600_000;

/** The system's roots at one time. */
export interface Roots {
  /** One certificate each. */
  readonly pem: readonly string[];
  /** Increases each time the certificates were read again. */
  readonly version: number;
}

export interface SystemRootsOptions {
  /** SSL_CERT_FILE and SSL_CERT_DIR replace the system's own store. */
  readonly env: Env;
  readonly platform?: NodeJS.Platform;
}

interface Source {
  readonly kind: 'file' | 'directory';
  readonly path: string;
}

/** Reads the system's roots; `current()` stats the sources and reads them again only when one has changed. */
export class SystemRoots {
  readonly #options: SystemRootsOptions;
  #known: { roots: Roots; stamp: string } | undefined;
  readonly #reading = new SingleFlight<'roots', Roots>();

  constructor(options: SystemRootsOptions) {
    this.#options = options;
  }

  /** Returns the current roots. A missing source is no error: without roots the list is empty. Concurrent calls share one read. */
  current(): Promise<Roots> {
    return this.#reading.run('roots', () => this.#read());
  }

  async #read(): Promise<Roots> {
    const sources = await this.#sources();
    const stamp = sources.length > 0 ? (await Promise.all(sources.map(stampOf))).join('|') : storeStamp();
    const known = this.#known;
    if (known !== undefined && known.stamp === stamp) return known.roots;
    const pem =
      sources.length > 0
        ? (await Promise.all(sources.map(certificatesOf))).flat()
        : await storeCertificates(this.#options.platform ?? process.platform);
    const roots = { pem: [...new Set(pem)], version: (known?.roots.version ?? 0) + 1 };
    this.#known = { roots, stamp };
    return roots;
  }

  async #sources(): Promise<readonly Source[]> {
    const { env, platform = process.platform } = this.#options;
    const file = env['SSL_CERT_FILE'] ?? '';
    const directories = (env['SSL_CERT_DIR'] ?? '').split(delimiter).filter((path) => path !== '');
    if (file !== '' || directories.length > 0) {
      return [
        ...(file === '' ? [] : [{ kind: 'file' as const, path: file }]),
        ...directories.map((path) => ({ kind: 'directory' as const, path })),
      ];
    }
    if (platform === 'darwin') return [];
    for (const path of BUNDLES) {
      if ((await stampOf({ kind: 'file', path })) !== '') return [{ kind: 'file', path }];
    }
    return [];
  }
}

async function stampOf({ path }: Source): Promise<string> {
  try {
    const found = await stat(path);
    return `${String(found.mtimeMs)}-${String(found.size)}-${String(found.ino)}`;
  } catch {
    return '';
  }
}

async function certificatesOf({ kind, path }: Source): Promise<string[]> {
  try {
    if (kind === 'file') return await certificatesOfFile(path);
    // As in OpenSSL, only hash-named links are read, because a certificate folder also contains the bundle itself.
    const names = (await readdir(path)).filter((name) => /^[0-9a-f]{8}\.\d+$/.test(name)).sort();
    const all: string[] = [];
    for (const name of names.slice(0, DIRECTORY_FILES_MAX)) {
      all.push(...(await certificatesOfFile(join(path, name)).catch(() => [])));
    }
    return all;
  } catch {
    return [];
  }
}

async function certificatesOfFile(path: string): Promise<string[]> {
  const found = await stat(path);
  if (!found.isFile() || found.size > BUNDLE_MAX) return [];
  return usableCertificates(await readFile(path, 'utf8'));
}

function storeStamp(): string {
  return `store-${String(Math.floor(performance.now() / KEYCHAIN_AGE_MS))}`;
}

/** Returns Node's own copy of the system store if available (22.15 and later), else the macOS keychain. */
async function storeCertificates(platform: NodeJS.Platform): Promise<string[]> {
  const read = (tls as { getCACertificates?: (type: 'system') => string[] }).getCACertificates;
  const found = read?.('system') ?? [];
  if (found.length > 0 || platform !== 'darwin') return found;
  return new Promise((resolve) => {
    const args = [
      'find-certificate',
      '-a',
      '-p',
      '/System/Library/Keychains/SystemRootCertificates.keychain',
    ];
    execFile(
      '/usr/bin/security',
      [...args, '/Library/Keychains/System.keychain'],
      { timeout: LIMITS.keychainMs, maxBuffer: BUNDLE_MAX },
      (error, stdout) => {
        resolve(error === null ? usableCertificates(stdout) : []);
      },
    );
  });
}
