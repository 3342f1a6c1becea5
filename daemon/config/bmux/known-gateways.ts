// bmux's store of trusted gateways, `known-gateways.toml` in its state dir (docs/bmux-protocol.md, "Certificate pins").
import { readlink, realpath } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import lockfile from 'proper-lockfile';
import { errnoOf, Failure } from '../../base/failure.ts';
import { writeAtomic } from '../../base/files/atomic-file.ts';
import { makeFolder } from '../../base/files/make-folder.ts';
import { appended, type BmuxPaths } from '../../base/paths.ts';
import { advised, fail } from '../../errors/fail.ts';
import { readSmallFile, type Marks } from '../files/file.ts';
import { STORE_INTEGERS } from '../files/grammar.ts';
import { isTable, tableAt, type Table } from '../files/table.ts';
import { lineOf, readToml, type Doc } from '../files/toml.ts';
import { parsedExactly, withEntry } from '../files/toml-edit.ts';

/** ms after which the lock of a killed process is ignored. */
const STALE_MS = 5000;

export interface StoredPin {
  readonly fingerprint: string;
  readonly label?: string;
  readonly serverName?: string;
  readonly trustedAtMs?: number;
}

/** The content of the store. */
export interface KnownGateways {
  readonly path: string;
  /** By `HOST:PORT`. */
  readonly pins: ReadonlyMap<string, StoredPin>;
  /** Entries with a blank fingerprint, which bmux lists, and which count as no pin. */
  readonly blank?: ReadonlyMap<string, StoredPin>;
  /** Why the file cannot be used; there are no pins then. */
  readonly problem?: Failure;
}

export function knownGatewaysFile({ stateDir }: Pick<BmuxPaths, 'stateDir'>): string {
  return appended(stateDir, 'known-gateways.toml');
}

/** The fingerprint in the form in which it is compared. */
export function comparable(fingerprint: string): string {
  return fingerprint.trim().toLowerCase();
}

const readStore = (path: string, marks?: Marks): Promise<Doc | undefined> =>
  readToml(path, marks, readSmallFile, STORE_INTEGERS);

/** Reads the store; a missing one is empty. Never rejects. `marks` collects the mark of the file. */
export async function readKnownGateways(path: string, marks?: Marks): Promise<KnownGateways> {
  try {
    const doc = await readStore(path, marks);
    const all = [...(doc === undefined ? [] : pinsIn(doc.text))];
    const isBlank = ([, { fingerprint }]: (typeof all)[number]): boolean => fingerprint === '';
    const pins = new Map(all.filter((entry) => !isBlank(entry)));
    return { path, pins, blank: new Map(all.filter(isBlank)) };
  } catch (error) {
    const reading = error instanceof Failure && error.code === 'file_unreadable';
    const code = reading ? 'known_gateways_unreadable' : 'known_gateways_unparsable';
    return { path, pins: new Map(), problem: fail(code, { path }, error) };
  }
}

/** What bmux demands of an entry. One that it cannot read spoils the whole store, there and here. */
const FIELDS: Readonly<
  Record<string, { readonly what: string; readonly fits: (value: unknown) => boolean }>
> = {
  fingerprint_sha256: { what: 'a text', fits: (value) => typeof value === 'string' },
  trusted_at_unix_ms: {
    what: 'a whole number, ms since 1970',
    fits: (value) => typeof value === 'bigint' && value >= 0n && value < 2n ** 64n,
  },
  server_name: { what: 'a text', fits: (value) => value === undefined || typeof value === 'string' },
  label: { what: 'a text', fits: (value) => value === undefined || typeof value === 'string' },
};

function pinsIn(text: string): Map<string, StoredPin> {
  const pins = new Map<string, StoredPin>();
  const table = parsedExactly(text);
  if (table['gateways'] !== undefined && !isTable(table['gateways'])) throw new Error('gateways is no table');
  for (const [key, value] of Object.entries(tableAt(table, ['gateways']))) {
    const at = ['gateways', key];
    if (!isTable(value))
      throw new Error(`gateways.${JSON.stringify(key)} in line ${String(lineOf(text, at))} is no table`);
    for (const [name, { what, fits }] of Object.entries(FIELDS)) {
      if (fits(value[name])) continue;
      const line = lineOf(text, value[name] === undefined ? at : [...at, name]);
      const is = value[name] === undefined ? 'is missing: it is to be' : 'is not';
      throw new Error(`gateways.${JSON.stringify(key)}.${name} in line ${String(line)} ${is} ${what}`);
    }
    const { fingerprint_sha256: fingerprint, label, server_name: serverName, trusted_at_unix_ms: ms } = value;
    pins.set(key, {
      fingerprint: String(fingerprint).trim(),
      ...(typeof label === 'string' ? { label } : {}),
      ...(typeof serverName === 'string' ? { serverName } : {}),
      trustedAtMs: Number(ms),
    });
  }
  return pins;
}

/**
 * Adds a pin unless the gateway has one, and returns the one that is in the store then. With `replace` the new one counts. Rejects with
 * known_gateways_*.
 */
export async function addKnownGateway(
  path: string,
  key: string,
  pin: StoredPin,
  replace = false,
): Promise<StoredPin> {
  return changed(path, (gateways) => {
    const known = gateways[key];
    if (!replace && isTable(known) && typeof known['fingerprint_sha256'] === 'string') {
      const fingerprint = known['fingerprint_sha256'].trim();
      if (fingerprint !== '') return { result: { fingerprint } };
    }
    const entry = {
      ...(isTable(known) ? known : {}),
      fingerprint_sha256: pin.fingerprint,
      trusted_at_unix_ms: BigInt(pin.trustedAtMs ?? Date.now()),
      ...(pin.serverName === undefined ? {} : { server_name: pin.serverName }),
      ...(pin.label === undefined ? {} : { label: pin.label }),
    };
    return { result: pin, gateways: { ...gateways, [key]: entry } };
  });
}

/** Removes a pin. False when there was none. Rejects with known_gateways_*. */
export async function removeKnownGateway(path: string, key: string): Promise<boolean> {
  return changed(path, (gateways) => {
    if (!Object.hasOwn(gateways, key)) return { result: false };
    return {
      result: true,
      gateways: Object.fromEntries(Object.entries(gateways).filter(([name]) => name !== key)),
    };
  });
}

/** Changes the table `gateways` under a lock, and keeps everything else of the file. */
async function changed<T>(
  path: string,
  change: (gateways: Table) => { readonly result: T; readonly gateways?: Table },
): Promise<T> {
  try {
    await makeFolder(dirname(path));
    const release = await lockfile.lock(path, {
      realpath: false,
      stale: STALE_MS,
      // The retries take longer than STALE_MS.
      retries: { retries: 50, minTimeout: 10, maxTimeout: 200, randomize: true },
    });
    try {
      const text = (await readStore(path))?.text ?? '';
      try {
        pinsIn(text);
      } catch (error) {
        throw fail('known_gateways_unparsable', { path }, error);
      }
      const { result, gateways } = change(tableAt(parsedExactly(text), ['gateways']));
      if (gateways !== undefined) await writeAtomic(await behindLink(path), withEntry(text, gateways));
      return result;
    } finally {
      await release().catch(() => undefined);
    }
  } catch (error) {
    if (error instanceof Failure && error.code === 'known_gateways_unparsable') throw error;
    const unparsable = error instanceof Failure && error.code === 'config_syntax';
    if (errnoOf(error) === 'ELOCKED')
      throw advised(
        fail('known_gateways_unwritable', { path }, error),
        `Another program holds ${path}.lock: try again when it has ended, or remove that folder when none runs.`,
      );
    throw fail(unparsable ? 'known_gateways_unparsable' : 'known_gateways_unwritable', { path }, error);
  }
}

/** The file behind a symbolic link, also one to nothing, so that a rename does not replace the link. */
async function behindLink(path: string): Promise<string> {
  const link = await readlink(path).catch(() => undefined);
  if (link === undefined) return path;
  return realpath(path).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
    return behindLink(resolve(dirname(path), link));
  });
}
