// The certificates that this system trusts, found as rustls-native-certs finds them. They are read again only when they change.
import { delimiter } from 'node:path';
import * as tls from 'node:tls';
import { SingleFlight } from '../../../base/async/single-flight.ts';
import { Slices } from '../../../base/async/slices.ts';
import { textOf } from '../../../base/failure.ts';
import type { Env } from '../../../base/paths.ts';
import { Anchor, AnchorIndex } from './anchors.ts';
import { unusable } from './damage.ts';
import { keychain } from './keychain.ts';
import { pemSections } from './pem.ts';
import { DIRECTORY_FILES_MAX, filesIn, inGroups, piecesOfFile, type Origin } from './root-files.ts';
import { RootFolders } from './root-folders.ts';
import { asRead, stampOf } from '../../../base/files/stamp.ts';

/** Where distributions keep the bundle, in the order of openssl-probe (which bmux's rustls-native-certs uses). The first one counts. */
const BUNDLES: readonly string[] = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/ssl/cert.pem',
  '/opt/etc/ssl/certs/ca-certificates.crt',
  '/etc/ssl/certs/cacert.pem',
];
/** Where they keep one file for each certificate. All of these count, beside the bundle. */
const DIRECTORIES: readonly string[] = ['/etc/ssl/certs', '/etc/pki/tls/certs'];

/** Minimum time between two reads of the keychain, ms: it has no time stamp to compare. */
const KEYCHAIN_AGE_MS = 3_600_000;

/** Where roots came from, for the log and for the doctor. */
export interface RootSource {
  readonly kind: 'file' | 'directory' | 'store';
  readonly path: string;
  /** Number of certificates that count. */
  readonly certificates: number;
  /** What was left out, and why. */
  readonly problems: readonly string[];
}

/** The system's roots at one time. */
export interface Roots {
  readonly anchors: readonly Anchor[];
  readonly index: AnchorIndex;
  readonly sources: readonly RootSource[];
  /** Increases each time other certificates were found. */
  readonly version: number;
}

export interface SystemRootsOptions {
  /** SSL_CERT_FILE and SSL_CERT_DIR replace the system's own store. Both count when both are set. */
  readonly env: Env;
  readonly platform?: NodeJS.Platform;
  /** The stamp of a source; `stampOf` by default. */
  readonly stamp?: (path: string) => Promise<string>;
  /** Reports a source of which something was left out. */
  readonly log?: ((source: RootSource) => void) | undefined;
}

interface Stamped extends Origin {
  /** Empty where the source is missing. */
  readonly stamp: string;
}

interface ReadRoots {
  readonly roots: Roots;
  readonly stamp: string;
  readonly folders: RootFolders;
}

/** Reads the system's roots; `current()` compares the stamps of the sources and reads them again only when one has changed. */
export class SystemRoots {
  readonly #options: SystemRootsOptions;
  #known: ReadRoots | undefined;
  /** See `renew`. */
  #isStale = false;
  readonly #reading = new SingleFlight<'roots', Roots>();

  constructor(options: SystemRootsOptions) {
    this.#options = options;
  }

  /**
   * Returns the current roots. A missing source is no error: without roots the list is empty. Concurrent calls share one read.
   */
  current(): Promise<Roots> {
    return this.#reading.run('roots', () => this.#read());
  }

  async #read(): Promise<Roots> {
    const isStale = this.#isStale;
    this.#isStale = false;
    const origins = await this.#origins();
    const stamps = origins.map(({ stamp }) => stamp);
    const stamp = origins.length > 0 ? stamps.join('|') : storeStamp();
    const known = this.#known;
    if (known?.stamp === stamp && !isStale && !(await known.folders.hasChanged())) return known.roots;
    // The stamps are taken before the read, so that a change during the read is seen at the next check.
    const before = stamps.map((one) => asRead(one));
    const folders = await RootFolders.of(origins);
    const found = origins.length > 0 ? await readOrigins(origins) : [await readStore(this.#options.platform)];
    const roots = await rootsOf(found, known?.roots);
    if (roots !== known?.roots)
      for (const source of roots.sources) if (source.problems.length > 0) this.#options.log?.(source);
    known?.folders.close();
    this.#known = { roots, stamp: origins.length > 0 ? before.join('|') : stamp, folders };
    return roots;
  }

  /** The next `current` reads, whatever the stamps say. A read under way may have begun before a change. */
  renew(): void {
    this.#isStale = true;
  }

  /** The sources, each with its stamp now. */
  async #origins(): Promise<readonly Stamped[]> {
    const { env, platform = process.platform, stamp: stampAt = stampOf } = this.#options;
    const stamped = async (kind: Origin['kind'], path: string): Promise<Stamped> => ({
      kind,
      path,
      stamp: await stampAt(path),
    });
    const [file, folders] = [env['SSL_CERT_FILE'], env['SSL_CERT_DIR']];
    if (file !== undefined || folders !== undefined) {
      const paths = (folders ?? '').split(delimiter).filter((path) => path !== '');
      return Promise.all([
        ...(file === undefined ? [] : [stamped('file', file)]),
        ...paths.map((path) => stamped('directory', path)),
      ]);
    }
    if (platform === 'darwin') return [];
    const origins: Stamped[] = [];
    for (const path of BUNDLES) {
      const bundle = await stamped('file', path);
      if (bundle.stamp === '') continue;
      origins.push(bundle);
      break;
    }
    for (const path of DIRECTORIES) {
      const folder = await stamped('directory', path);
      if (folder.stamp !== '') origins.push(folder);
    }
    return origins;
  }
}

interface Found {
  readonly kind: RootSource['kind'];
  readonly path: string;
  readonly anchors: readonly Anchor[];
  readonly problems: readonly string[];
}

/** All of them, each certificate once; `before` when nothing is new. */
async function rootsOf(found: readonly Found[], before: Roots | undefined): Promise<Roots> {
  const slices = new Slices();
  const known = new Map<string, Anchor>();
  const index = new AnchorIndex();
  for (const { anchors } of found) {
    for (const anchor of anchors) {
      await slices.next();
      const key = anchor.der.toString('latin1');
      if (known.has(key)) continue;
      known.set(key, anchor);
      index.add(anchor);
    }
  }
  const sources = found.map(({ kind, path, anchors, problems }) => ({
    kind,
    path,
    certificates: anchors.length,
    problems,
  }));
  const anchors = [...known.values()];
  const isSame =
    before?.anchors.length === anchors.length &&
    before.anchors.every(({ der }, at) => anchors[at]?.der.equals(der) === true);
  if (isSame)
    return JSON.stringify(before.sources) === JSON.stringify(sources) ? before : { ...before, sources };
  return { anchors, index, sources, version: (before?.version ?? 0) + 1 };
}

async function readOrigins(origins: readonly Origin[]): Promise<Found[]> {
  const slices = new Slices();
  const found: Found[] = [];
  const read = new Set<string>();
  for (const { kind, path } of origins) {
    const anchors: Anchor[] = [];
    const problems: string[] = [];
    try {
      const files = kind === 'file' ? [path] : await filesIn(path);
      await inGroups(files, async (some) => {
        const texts = await Promise.all(some.map((file) => piecesOfFile(file, read, problems)));
        for (const [index, text] of texts.entries())
          await collect(text, String(some[index] ?? path), { anchors, problems }, slices);
      });
      if (files.length === DIRECTORY_FILES_MAX)
        problems.push(`${path}: only the first ${String(DIRECTORY_FILES_MAX)} files count`);
    } catch (error) {
      problems.push(textOf(error));
    }
    found.push({ kind, path, anchors, problems });
  }
  return found;
}

/** Adds the usable certificates of `text`; what is broken is left out, as in rustls-native-certs. */
async function collect(
  text: Iterable<string>,
  file: string,
  to: { readonly anchors: Anchor[]; readonly problems: string[] },
  slices: Slices,
): Promise<void> {
  let number = 0;
  for (const section of pemSections(text)) {
    await slices.next();
    if (section === undefined) continue;
    if ('problem' in section) {
      to.problems.push(`${file}: ${section.problem}`);
    } else if (section.label === 'CERTIFICATE') {
      number += 1;
      try {
        const anchor = new Anchor(section.der, file);
        if (anchor.isUsable) to.anchors.push(anchor);
      } catch (error) {
        to.problems.push(`${file}: ${unusable(section.der, number, error)}`);
      }
    }
  }
}

function storeStamp(): string {
  return `store-${String(Math.floor(performance.now() / KEYCHAIN_AGE_MS))}`;
}

/** Node's own copy of the system store if available (22.15 and later), else the macOS keychain. */
async function readStore(platform: NodeJS.Platform = process.platform): Promise<Found> {
  const read = (tls as { getCACertificates?: (type: 'system') => string[] }).getCACertificates;
  const list = read?.('system') ?? [];
  const text = list.length > 0 || platform !== 'darwin' ? list.join('\n') : await keychain();
  const found = { kind: 'store' as const, path: 'keychain', anchors: [], problems: [] };
  await collect([text], 'keychain', found, new Slices());
  return found;
}
