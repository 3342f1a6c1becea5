// The trust of a TLS target: the system's roots and its ca_file, as anchors, and the contexts that are made of them.
import type { SecureContext } from 'node:tls';
import { fail } from '../../errors/fail.ts';
import type { TlsRoute } from '../../engine-protocol/plan.ts';
import { LruMap } from '../../base/lru-map.ts';
import type { Anchor } from './certificates/anchors.ts';
import { CaFiles, type CaFile } from './certificates/ca-files.ts';
import { contextWith } from './context.ts';
import type { Roots, SystemRoots } from './certificates/roots.ts';

/**
 * Maximum number of anchors of one context. OpenSSL sorts all of them at each addition: thousands take seconds. Beyond this number only the
 * anchors are used whose name the gateway's chain mentions.
 */
const CONTEXT_ANCHORS_MAX = 500;
/** Maximum number of trusts and of contexts that are kept. The context of a system bundle is about a megabyte. */
const TRUSTS_MAX = 32;
const CONTEXTS_MAX = 64;

/** Some of the anchors of a trust, and the key of their context. */
export interface Selection {
  readonly key: string;
  readonly anchors: readonly Anchor[];
  /** True: the anchors are given to OpenSSL without key ids, since bmux ignores them. */
  readonly loose?: true;
  /** The serial number that the anchors get, in DER: a certificate below names it, and OpenSSL compares it. */
  readonly serial?: Buffer;
  /** DER of certificates that the gateway presents and one of the anchors has signed. OpenSSL prefers them to others of the same name. */
  readonly links?: readonly Buffer[];
}

/** Trust settings of one route at one time. Equal `key`s mean equal verification. */
export class Trust {
  readonly key: string;
  readonly caFile: CaFile | undefined;
  readonly roots: Roots;
  readonly #contexts = new LruMap<string, Promise<SecureContext>>(CONTEXTS_MAX);

  constructor(key: string, roots: Roots, caFile: CaFile | undefined) {
    this.key = key;
    this.roots = roots;
    this.caFile = caFile;
  }

  /** The anchors of the first handshake: those of the CA file where there are any, since they verify the gateway nearly always. */
  get first(): Selection {
    const own = this.caFile?.anchors ?? [];
    const anchors = own.length > 0 ? own : this.roots.anchors;
    if (anchors.length > CONTEXT_ANCHORS_MAX) return { key: 'none', anchors: [] };
    return { key: own.length > 0 ? 'ca' : 'roots', anchors };
  }

  /** All anchors with this subject (DER, one character a byte), those of the CA file first. */
  anchorsOf(subject: string): readonly Anchor[] {
    const own = this.caFile?.index.of(subject) ?? [];
    return own.length === 0 ? this.roots.index.of(subject) : [...own, ...this.roots.index.of(subject)];
  }

  /** The context of a selection. Concurrent calls share it. Never rejects. */
  context(selection: Selection): Promise<SecureContext> {
    const known = this.#contexts.get(selection.key);
    if (known !== undefined) return known;
    const making = contextWith(selection);
    this.#contexts.set(selection.key, making);
    return making;
  }
}

/** The trusts of all routes. Targets with the same roots and the same CA file share one. */
export class Trusts {
  readonly #roots: SystemRoots;
  readonly #caFiles = new CaFiles(TRUSTS_MAX);
  readonly #known = new LruMap<string, Trust>(TRUSTS_MAX);

  constructor(roots: SystemRoots) {
    this.#roots = roots;
  }

  /** The CA files and the system's roots are read again at their next use, whatever their stamps say. */
  renew(): void {
    this.#caFiles.renew();
    this.#roots.renew();
  }

  /** Returns the current trust of `route`. Rejects with one of the ca_* failures or tls_roots_missing, in that order. */
  async current(route: TlsRoute, label: string): Promise<Trust> {
    const caFile = route.caFile === undefined ? undefined : await this.#caFiles.current(route.caFile);
    const roots = await this.#roots.current();
    if (roots.anchors.length === 0 && (caFile?.anchors.length ?? 0) === 0)
      throw missing(label, roots, caFile);
    const key = JSON.stringify([roots.version, route.caFile ?? null, caFile?.hash ?? null]);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    // A changed file or bundle: the contexts of the former content are of no use.
    for (const [old, { roots: before, caFile: other }] of this.#known)
      if (before.version !== roots.version || other?.path === caFile?.path) this.#known.delete(old);
    const trust = new Trust(key, roots, caFile);
    this.#known.set(key, trust);
    return trust;
  }
}

function missing(label: string, roots: Roots, caFile: CaFile | undefined): Error {
  const sources = roots.sources.map(({ path, problems }) => problems[0] ?? `${path}: no certificate`);
  const found = [
    ...(caFile === undefined ? [] : [`ca_file ${caFile.path} holds ${caFile.holds ?? 'no certificate'}`]),
    ...sources,
  ];
  return fail('tls_roots_missing', { label }, found.length === 0 ? undefined : new Error(found.join('; ')));
}
