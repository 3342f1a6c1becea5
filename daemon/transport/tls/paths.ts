// The paths from a gateway's certificate to an anchor, as webpki finds them: any presented certificate may follow, several may have one name.
import type { X509Certificate } from 'node:crypto';
import type { Anchor } from './certificates/anchors.ts';
import { damageForBmux, damageForOpenSsl } from './certificates/damage.ts';
import { textOf } from '../../base/failure.ts';
import { refusedExtension, refusedNames } from './certificates/constraints.ts';
import {
  EXTENSIONS,
  issuerKeyIdOf,
  isKnownKey,
  isKnownSignature,
  type CertificateParts,
} from './certificates/parts.ts';

/** As in webpki. */
const INTERMEDIATES_MAX = 6;
const SIGNATURES_MAX = 100;

export interface Presented extends CertificateParts {
  readonly certificate: X509Certificate;
}

/** The gateway's own certificate first. Each is signed by the next one, and the last one by the anchor. */
export interface Path {
  readonly certificates: readonly [Presented, ...Presented[]];
  readonly anchor: Anchor;
}

/** Searches the paths that webpki would accept; what OpenSSL checks as well is mostly left to it. */
export class PathSearch {
  /** Why a path, or a part of one, was refused last. */
  problem = 'unable to get issuer certificate: the name of an issuer is written in another way';
  readonly #chain: readonly Presented[];
  readonly #anchorsOf: (subject: string) => readonly Anchor[];
  #signatures = SIGNATURES_MAX;

  constructor(chain: readonly Presented[], anchorsOf: (subject: string) => readonly Anchor[]) {
    this.#chain = chain;
    this.#anchorsOf = anchorsOf;
  }

  /**
   * Yields undefined after each signature that is checked, so that the caller can let others run. `isVerified`: OpenSSL has verified the chain, so a
   * signature is checked only where there is a choice.
   */
  *paths(isVerified: boolean): Generator<Path | undefined, void> {
    const [own] = this.#chain;
    if (own !== undefined) yield* this.#from([own], isVerified);
  }

  *#from(path: readonly [Presented, ...Presented[]], isVerified: boolean): Generator<Path | undefined, void> {
    const last = path.at(-1) ?? path[0];
    const refused = refusedIn(last);
    if (refused !== undefined) {
      this.problem = `${refused}: ${nameOf(last)}`;
      return;
    }
    const anchors = likelyFirst(this.#anchorsOf(last.issuer), last);
    const next = this.#chain.filter((one) => one.subject === last.issuer && !path.includes(one));
    const isSure = isVerified && anchors.length + next.length === 1;
    for (const anchor of anchors) {
      const isSigned = isSure || this.#isSigned(() => anchor.hasSigned(last.certificate));
      if (!isSure) yield undefined;
      if (!isSigned) continue;
      const names = namesRefused(path, anchor);
      if (names === undefined) yield { certificates: path, anchor };
      else this.problem = names;
    }
    if (next.length > 0 && path.length > INTERMEDIATES_MAX) {
      this.problem = `more than ${String(INTERMEDIATES_MAX)} intermediate certificates`;
      return;
    }
    for (const one of next) {
      const isSigned = isSure || (isValidNow(one) && this.#isSigned(() => isSignedBy(last, one)));
      if (!isSure) yield undefined;
      if (!isSigned) continue;
      yield* this.#from([...path, one], isVerified);
    }
  }

  #isSigned(verify: () => boolean): boolean {
    this.#signatures -= 1;
    return this.#signatures >= 0 && verify();
  }
}

/** The anchors with the key id that the certificate names come first: OpenSSL has chosen one of them. */
function likelyFirst(anchors: readonly Anchor[], below: Presented): readonly Anchor[] {
  if (anchors.length < 2) return anchors;
  const wanted = issuerKeyIdOf(below);
  if (wanted === undefined) return anchors;
  const isLikely = (one: Anchor): boolean => one.keyId?.equals(wanted) === true;
  return [...anchors.filter(isLikely), ...anchors.filter((one) => !isLikely(one))];
}

export const nameOf = ({ certificate }: Presented): string => `"${oneLine(certificate.subject)}"`;

export const oneLine = (name: string): string => name.replaceAll('\n', ', ');

function refusedIn(one: Presented): string | undefined {
  const { version, publicKey, signatureAlgorithm } = one;
  try {
    if (version !== 3) return `certificates of version ${String(version)} are not supported`;
    if (!isKnownKey(publicKey)) return 'the kind or size of a key is not supported';
    if (!isKnownSignature(signatureAlgorithm)) return 'the algorithm of a signature is not supported';
    if (Date.parse(one.certificate.validFrom) < 0) return 'a time before 1970 is not supported';
    return damageForBmux(one) ?? refusedExtension(one);
  } catch (error) {
    return damageForOpenSsl(one) ?? `it cannot be read (${textOf(error)})`;
  }
}

/** The name constraints of each CA are for all certificates below it. */
function namesRefused(path: readonly Presented[], anchor: Anchor): string | undefined {
  const limits = path.map(({ extensions }) => extensions.get(EXTENSIONS.nameConstraints));
  try {
    for (const [depth, limit] of limits.entries()) {
      const refused = refusedNames(limit, path.slice(0, depth));
      if (refused !== undefined) return refused;
    }
    return refusedNames(anchor.nameConstraints, path);
  } catch (error) {
    const damaged = path.find((one) => damageForOpenSsl(one) !== undefined);
    if (damaged !== undefined) return `${String(damageForOpenSsl(damaged))}: ${nameOf(damaged)}`;
    return `the name constraints of an anchor cannot be read (${textOf(error)}): ${anchor.source}`;
  }
}

function isValidNow({ certificate: { validFrom, validTo } }: Presented): boolean {
  const now = Date.now();
  return Date.parse(validFrom) <= now && now <= Date.parse(validTo);
}

function isSignedBy({ certificate }: Presented, issuer: Presented): boolean {
  try {
    return certificate.verify(issuer.certificate.publicKey);
  } catch {
    return false;
  }
}
