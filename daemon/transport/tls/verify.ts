// The outcome on the certificate that a gateway has presented. OpenSSL verifies the chain; here are the checks of webpki that OpenSSL does not
// make, the name, and the choice of other anchors after a failure. No check here accepts what OpenSSL has refused.
import { createHash, createPublicKey, type X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { Slices } from '../../base/async/slices.ts';
import { verifyErrorOf } from '../../base/node-internals.ts';
import type { Anchor } from './certificates/anchors.ts';
import {
  certificateParts,
  isKnownKey,
  isKnownSignature,
  type CertificateParts,
} from './certificates/parts.ts';
import { identityError } from './server-name.ts';
import type { Selection, Trust } from './trust.ts';

/** As in webpki. */
const INTERMEDIATES_MAX = 6;
/** Certificates of a chain that are looked at. */
const CHAIN_MAX = 16;
/** Anchors of one name whose keys are tried on a certificate. */
const KEYS_MAX = 64;
/** Other anchors that are tried after a failure, each with a connection of its own. */
const RETRIES_MAX = 4;

export interface Presented extends CertificateParts {
  readonly certificate: X509Certificate;
}

/** Why a certificate was not accepted. */
export interface Refusal {
  /** `name`: the chain is trusted, and the name is another. `chain`: everything else. */
  readonly kind: 'name' | 'chain';
  readonly why: Error;
  readonly chain: readonly Presented[];
}

/** The certificates that the peer has sent, in the order in which they were sent. Its own one is the first. */
function presentedBy(socket: TLSSocket): Presented[] {
  const chain: Presented[] = [];
  for (
    let certificate = socket.getPeerX509Certificate();
    certificate !== undefined && chain.length < CHAIN_MAX;
    certificate = certificate.issuerCertificate
  ) {
    try {
      chain.push({ ...certificateParts(certificate.raw), certificate });
    } catch {
      break;
    }
  }
  return chain;
}

/** Judges the finished handshake of `socket`, which was made with `selection`. Undefined: accepted. */
export function refusalOf(socket: TLSSocket, serverName: string, trust: Trust): Refusal | undefined {
  // A session is resumed only by tickets of connections that were accepted under the same trust. It presents no certificate.
  if (socket.isSessionReused()) return undefined;
  const error = verifyErrorOf(socket);
  const chain = presentedBy(socket);
  const [own] = chain;
  if (error !== undefined) return { kind: 'chain', why: explained(error, chain, trust), chain };
  if (own === undefined) return { kind: 'chain', why: new Error('no certificate was presented'), chain };
  const stricter = notAsBmux(chain, trust);
  if (stricter !== undefined) return { kind: 'chain', why: new Error(stricter), chain };
  const wrongName = identityError(serverName, own.certificate);
  return wrongName === undefined ? undefined : { kind: 'name', why: wrongName, chain };
}

/** What webpki refuses and OpenSSL accepts; undefined for a chain without any of it. Names are compared byte by byte. */
function notAsBmux(chain: readonly Presented[], trust: Trust): string | undefined {
  const [own] = chain;
  if (own?.certificate.ca === true)
    return `the certificate of a CA cannot be a gateway's own: ${nameOf(own)}`;
  let problem = 'unable to get issuer certificate: the name of an issuer is written in another way';
  let depth = 0;
  const left = new Set(chain);
  for (let step = chain.slice(0, 1); step.length > 0; depth += 1) {
    if (depth > INTERMEDIATES_MAX) return `more than ${String(INTERMEDIATES_MAX)} intermediate certificates`;
    const next: Presented[] = [];
    for (const one of step) {
      left.delete(one);
      const unsupported = unsupportedIn(one);
      if (unsupported !== undefined) problem = `${unsupported}: ${nameOf(one)}`;
      else if (trust.anchorsOf(one.issuer).length > 0) return undefined;
      else next.push(...[...left].filter(({ subject }) => subject === one.issuer));
    }
    step = next;
  }
  return problem;
}

function unsupportedIn({ version, publicKey, signatureAlgorithm }: Presented): string | undefined {
  if (version !== 3) return `certificates of version ${String(version)} are not supported`;
  if (!isKnownKey(publicKey)) return 'the kind or size of a key is not supported';
  if (!isKnownSignature(signatureAlgorithm)) return 'the algorithm of a signature is not supported';
  return undefined;
}

/**
 * Other anchors that may verify this chain, each alone: with the name and the key of an issuer. OpenSSL takes one anchor, and one presented
 * certificate, of each name; webpki tries all.
 */
export async function otherAnchors(
  { chain, kind }: Refusal,
  trust: Trust,
  tried: Selection,
): Promise<readonly Selection[]> {
  if (kind === 'name') return [];
  const slices = new Slices();
  const found: Selection[] = [];
  for (const [index, { issuer, certificate }] of chain.entries()) {
    for (const anchor of trust.anchorsOf(issuer).slice(0, KEYS_MAX)) {
      await slices.next();
      if (!isSignedBy(certificate, anchor)) continue;
      const id = createHash('sha256').update(anchor.der).update(certificate.raw).digest('hex');
      if (index === 0 && anchor.mayBePresented && anchor.der.equals(certificate.raw)) {
        found.push({ key: `as it is ${id}`, anchors: [anchor] });
      } else {
        // A self-signed certificate in a context is trusted by OpenSSL. A presented one must never be.
        const isLink = index > 0 && !certificate.checkIssued(certificate);
        const links = isLink ? [certificate.raw] : [];
        found.push({ key: `loose ${id}`, anchors: [anchor], loose: true, links });
      }
    }
  }
  return found.filter((one) => !isSame(one, tried)).slice(0, RETRIES_MAX);
}

/** Whether a handshake with `one` would fail as the one with `tried` has. */
function isSame(one: Selection, tried: Selection): boolean {
  const [[anchor], [only]] = [one.anchors, tried.anchors];
  if (one.key === tried.key) return true;
  if (tried.anchors.length !== 1 || anchor !== only || (one.links ?? []).length > 0) return false;
  return anchor?.mayBePresented !== true || one.loose === tried.loose;
}

function isSignedBy(certificate: X509Certificate, anchor: Anchor): boolean {
  try {
    return certificate.verify(createPublicKey({ key: anchor.publicKey, format: 'der', type: 'spki' }));
  } catch {
    return false;
  }
}

const nameOf = ({ certificate }: Presented): string => `"${oneLine(certificate.subject)}"`;

/** The error of OpenSSL, with the certificates that it concerns. */
function explained(error: Error, chain: readonly Presented[], trust: Trust): Error {
  const why = error.message;
  const code: unknown = Reflect.get(error, 'code');
  const now = Date.now();
  const outdated = chain.find(({ certificate: { validFrom, validTo } }) =>
    code === 'CERT_HAS_EXPIRED'
      ? Date.parse(validTo) < now
      : code === 'CERT_NOT_YET_VALID' && Date.parse(validFrom) > now,
  );
  if (outdated !== undefined) {
    const { validFrom, validTo } = outdated.certificate;
    return new Error(`${why}: ${nameOf(outdated)}, valid from ${validFrom} to ${validTo}`);
  }
  const lines = chain.map((one) => {
    const [anchor] = trust.anchorsOf(one.issuer);
    const trusted = anchor === undefined ? 'not trusted' : `trusted in ${anchor.source}`;
    return `${nameOf(one)} of issuer "${oneLine(one.certificate.issuer)}" (a name that is ${trusted})`;
  });
  return new Error([why, ...lines].join('; '));
}

const oneLine = (name: string): string => name.replaceAll('\n', ', ');
