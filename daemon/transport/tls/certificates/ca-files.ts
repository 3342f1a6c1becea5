// The CA files of targets, parsed once for each content.
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { SingleFlight } from '../../../base/async/single-flight.ts';
import { Slices } from '../../../base/async/slices.ts';
import { LruMap } from '../../../base/lru-map.ts';
import { fail } from '../../../errors/fail.ts';
import { Anchor, AnchorIndex } from './anchors.ts';
import { unusable } from './damage.ts';
import { pemSections, piecesOf } from './pem.ts';
import { isOnLocalDisk } from '../../../base/files/local-disk.ts';
import { asRead, stampFrom } from '../../../base/files/stamp.ts';

/** Largest CA file, bytes: 7000 certificates with keys of 4096 bits have 13 MB. bmux has no limit. */
const CA_FILE_MAX = 32 << 20;

/** Bytes that are hashed in one step: half a millisecond. */
const HASHED = 256 * 1024;

export interface CaFile {
  readonly path: string;
  /** Equal for equal content. */
  readonly hash: string;
  readonly anchors: readonly Anchor[];
  readonly index: AnchorIndex;
  /** What a file without certificates holds instead. */
  readonly holds?: string;
}

/** Caches the CA files by path; a file is read again when its stamp changes. Concurrent callers share one read. */
export class CaFiles {
  readonly #known: LruMap<string, { readonly stamp: string; readonly file: CaFile }>;
  readonly #stamp: (path: string) => Promise<string>;
  readonly #reading = new SingleFlight<string, CaFile>();
  /** Increases with each `renew`: a reading of an earlier one may have begun before a change. */
  #generation = 0;

  /** `stamp` gives the stamp of a file; for tests. */
  constructor(max: number, stamp = stampOfCaFile) {
    this.#known = new LruMap(max);
    this.#stamp = stamp;
  }

  /** Returns the file as it is now. Rejects with ca_unreadable, ca_unparsable, ca_unaddable. */
  async current(path: string): Promise<CaFile> {
    const stamp = await this.#stamp(path);
    const known = this.#known.get(path);
    if (known !== undefined && known.stamp === stamp) return known.file;
    const generation = this.#generation;
    return this.#reading.run(JSON.stringify([generation, stamp, path]), async () => {
      const before = asRead(stamp);
      const fresh = await readCaFile(path, this.#known.peek(path)?.file);
      if (generation === this.#generation) this.#known.set(path, { stamp: before, file: fresh });
      return fresh;
    });
  }

  /** The next `current` of every path reads, whatever the stamp of the file says. */
  renew(): void {
    this.#generation += 1;
    const all = [...this.#known];
    for (const [path, { file }] of all) this.#known.set(path, { stamp: '', file });
  }
}

async function stampOfCaFile(path: string): Promise<string> {
  try {
    const found = isOnLocalDisk(path) ? statSync(path, { bigint: true }) : await stat(path, { bigint: true });
    // Reading a pipe would block for ever.
    if (!found.isFile()) throw new Error('not a regular file');
    if (found.size > CA_FILE_MAX) throw new Error(`larger than ${String(CA_FILE_MAX)} bytes`);
    return stampFrom(found);
  } catch (cause) {
    throw fail('ca_unreadable', { path }, cause);
  }
}

/** Returns `known` when the file has its content. */
async function readCaFile(path: string, known: CaFile | undefined): Promise<CaFile> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw fail('ca_unreadable', { path }, cause);
  });
  const slices = new Slices();
  const hashing = createHash('sha256');
  for (let at = 0; at < bytes.length; at += HASHED) {
    hashing.update(bytes.subarray(at, at + HASHED));
    await slices.next();
  }
  const hash = hashing.digest('hex');
  if (known?.hash === hash) return known;
  const labels = new Set<string>();
  const found = new Map<string, { readonly der: Buffer; readonly number: number }>();
  let count = 0;
  for (const section of pemSections(piecesOf(bytes))) {
    await slices.next();
    if (section === undefined) continue;
    if ('problem' in section) throw fail('ca_unparsable', { path }, new Error(section.problem));
    labels.add(section.label);
    if (section.label !== 'CERTIFICATE') continue;
    count += 1;
    const key = section.der.toString('latin1');
    if (!found.has(key)) found.set(key, { der: section.der, number: count });
  }
  const anchors: Anchor[] = [];
  const index = new AnchorIndex();
  for (const { der, number } of found.values()) {
    await slices.next();
    try {
      const anchor = new Anchor(der, path);
      if (!anchor.isUsable) continue;
      anchors.push(anchor);
      index.add(anchor);
    } catch (cause) {
      throw fail('ca_unaddable', { path }, new Error(unusable(der, number, cause)));
    }
  }
  const file = { path, hash, anchors, index };
  return anchors.length > 0 ? file : { ...file, holds: contentOf(bytes.toString('latin1'), labels) };
}

/** What a file without usable certificates holds, for the error. */
function contentOf(text: string, labels: ReadonlySet<string>): string {
  if (text === '') return 'nothing: it is empty';
  if (labels.has('CERTIFICATE')) return 'only certificates with keys that bmux does not support';
  if (labels.has('TRUSTED CERTIFICATE'))
    return 'an OpenSSL TRUSTED CERTIFICATE; convert it with `openssl x509 -in FILE -out NEW.pem`';
  if (labels.has('PKCS7') || labels.has('CMS'))
    return 'PKCS #7; convert it with `openssl pkcs7 -print_certs -in FILE -out NEW.pem`';
  if (labels.size > 0) return `no CERTIFICATE section, only ${[...labels].join(', ')}`;
  // A DER certificate is one ASN.1 sequence with a long length.
  if (text.startsWith('\x30\x82'))
    return 'DER; convert it with `openssl x509 -inform DER -in FILE -out NEW.pem`';
  if (text.startsWith('\xef\xbb\xbf')) return 'a byte order mark before its first line; remove it';
  if (/^[ \t]+-----BEGIN /m.test(text)) return 'PEM that is indented; remove the spaces before its lines';
  return 'no PEM section';
}
