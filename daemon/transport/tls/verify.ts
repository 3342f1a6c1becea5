// The outcome on the certificate that a gateway has presented. OpenSSL verifies the chain; here are the checks of webpki that OpenSSL does not
// make, the name, and the choice of other anchors after a failure. No check here accepts what OpenSSL has refused.
import { createHash } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { Slices } from '../../base/async/slices.ts';
import { textOf } from '../../base/failure.ts';
import { verifyErrorOf } from '../../base/node-internals.ts';
import type { Anchor } from './certificates/anchors.ts';
import { damageForBmux, damageForOpenSsl } from './certificates/damage.ts';
import { refusedExtension } from './certificates/constraints.ts';
import { certificateParts, isCa, issuerSerialOf, maySign } from './certificates/parts.ts';
import { nameOf, oneLine, PathSearch, type Presented } from './paths.ts';
import { identityError } from './server-name.ts';
import type { Selection, Trust } from './trust.ts';

/** Certificates of a chain that are looked at. OpenSSL takes 100 KiB of them. */
const CHAIN_MAX = 400;
/** Certificates of a refused chain that the error names. */
const SHOWN_MAX = 8;
/** Other anchors that are tried after a failure, each with a connection of its own. */
const RETRIES_MAX = 4;

/** Why a certificate was not accepted. */
export interface Refusal {
  /** `name`: the chain is trusted, and the name is another. `chain`: everything else. */
  readonly kind: 'name' | 'chain';
  readonly why: Error;
  readonly chain: readonly Presented[];
  /**
   * No other anchor helps. `named`: a presented certificate has the fault, and `why` names it; `time`: it is not valid now. `strict`: an
   * anchor has signed the chain, and OpenSSL refuses it nevertheless (docs/targets.md).
   */
  readonly fault?: 'named' | 'time' | 'strict';
}

/**
 * The certificates that the peer has sent, in the order in which they were sent. Its own one is the first. Those before one that cannot be read, and
 * why that is so.
 */
function presentedBy(socket: TLSSocket): { readonly chain: Presented[]; readonly problem?: string } {
  const chain: Presented[] = [];
  for (
    let certificate = socket.getPeerX509Certificate();
    certificate !== undefined && chain.length < CHAIN_MAX;
    certificate = certificate.issuerCertificate
  ) {
    try {
      chain.push({ ...certificateParts(certificate.raw), certificate });
    } catch (error) {
      return { chain, problem: `it cannot be read (${textOf(error)}): "${oneLine(certificate.subject)}"` };
    }
  }
  return { chain };
}

/** Judges the finished handshake of `socket`, which was made with `selection`. Undefined: accepted. */
export function refusalOf(
  socket: TLSSocket,
  serverName: string,
  trust: Trust,
  selection: Selection,
): Refusal | undefined {
  // A session is resumed only by tickets of connections that were accepted under the same trust. It presents no certificate.
  if (socket.isSessionReused()) return undefined;
  const error = verifyErrorOf(socket);
  const { chain, problem } = presentedBy(socket);
  const [own] = chain;
  if (error !== undefined && problem !== undefined)
    return { kind: 'chain', chain, why: new Error(`${problem}; ${error.message}`), fault: 'named' };
  if (error !== undefined) return { kind: 'chain', chain, ...explained(error, chain, trust) };
  if (own === undefined)
    return { kind: 'chain', why: new Error(problem ?? 'no certificate was presented'), chain };
  const stricter = notAsBmux(chain, trust, selection);
  if (stricter !== undefined) return { kind: 'chain', why: new Error(stricter), chain, fault: 'named' };
  const wrongName = identityError(serverName, own);
  return wrongName === undefined ? undefined : { kind: 'name', why: wrongName, chain };
}

/** What webpki refuses and OpenSSL accepts; undefined for a chain without any of it. Names are compared byte by byte. */
function notAsBmux(chain: readonly Presented[], trust: Trust, { anchors }: Selection): string | undefined {
  const ofCa = ownOfCa(chain);
  if (ofCa !== undefined) return ofCa;
  // OpenSSL has verified the chain by one of these.
  const anchorsOf = (subject: string): readonly Anchor[] =>
    anchors.length > 1 ? trust.anchorsOf(subject) : anchors.filter((one) => one.subject === subject);
  const search = new PathSearch(chain, anchorsOf);
  for (const path of search.paths(true)) if (path !== undefined) return undefined;
  return search.problem;
}

/** Whether the gateway presents a CA as its own certificate, as `openssl req -x509` makes it: bmux refuses that, also an anchor. */
function ownOfCa([own]: readonly Presented[]): string | undefined {
  return own?.certificate.ca === true
    ? `the certificate of a CA cannot be a gateway's own: ${nameOf(own)}`
    : undefined;
}

interface Others {
  readonly selections: readonly Selection[];
  /** Whether an anchor, tried or not, has signed the chain. */
  readonly areSigned: boolean;
}

/**
 * Other anchors that may verify this chain, each alone: with the name and the key of an issuer. OpenSSL takes one anchor, and one presented
 * certificate, of each name; webpki tries all.
 */
export async function otherAnchors(
  { chain, kind }: Refusal,
  trust: Trust,
  tried: Selection,
): Promise<Others> {
  if (kind === 'name') return { selections: [], areSigned: false };
  const found: Selection[] = [];
  await collect(found, chain, trust);
  const selections = found.filter((one) => !isSame(one, tried)).slice(0, RETRIES_MAX);
  return { selections, areSigned: found.length > 0 };
}

async function collect(found: Selection[], chain: readonly Presented[], trust: Trust): Promise<void> {
  const slices = new Slices();
  const search = new PathSearch(chain, (subject) => trust.anchorsOf(subject));
  for (const path of search.paths(false)) {
    await slices.next();
    if (path === undefined) continue;
    const { certificates, anchor } = path;
    const [own, ...rest] = certificates;
    const [first, ...others] = [anchor.der, ...certificates.map(({ certificate }) => certificate.raw)];
    const id = others
      .reduce((hash, der) => hash.update(der), createHash('sha256').update(first))
      .digest('hex');
    if (rest.length === 0 && anchor.mayBePresented && anchor.der.equals(own.certificate.raw)) {
      found.push({ key: `as it is ${id}`, anchors: [anchor] });
    } else {
      // A self-signed certificate in a context is trusted by OpenSSL. A presented one must never be.
      const links = rest.flatMap(({ certificate }) =>
        certificate.checkIssued(certificate) ? [] : [certificate.raw],
      );
      const serial = issuerSerialOf(rest.at(-1) ?? own);
      const more = serial === undefined ? { links } : { links, serial };
      found.push({ key: `loose ${id}`, anchors: [anchor], loose: true, ...more });
    }
    if (found.length > RETRIES_MAX) break;
  }
}

/** Whether a handshake with `one` would fail as the one with `tried` has. */
function isSame(one: Selection, tried: Selection): boolean {
  const [[anchor], [only]] = [one.anchors, tried.anchors];
  if (one.key === tried.key) return true;
  if (tried.anchors.length !== 1 || anchor !== only || (one.links ?? []).length > 0) return false;
  if (anchor?.mayBePresented === true) return one.loose === tried.loose;
  return anchor?.isLoose === true && one.serial === undefined;
}

/** The error of OpenSSL, with the certificates that it concerns. */
function explained(error: Error, chain: readonly Presented[], trust: Trust): Pick<Refusal, 'why' | 'fault'> {
  const why = error.message;
  const faulty = faultyOne(why, chain);
  if (faulty !== undefined) {
    const { validFrom, validTo } = faulty.certificate;
    const about = `${why}: ${nameOf(faulty)}`;
    if (!/expired|not yet/.test(why)) return { why: new Error(about), fault: 'named' };
    const times = `valid from ${validFrom} to ${validTo}; here it is ${new Date().toUTCString()}`;
    return { why: new Error(`${about}, ${times}`), fault: 'time' };
  }
  const ofCa = ownOfCa(chain);
  if (ofCa !== undefined) return { why: new Error(`${ofCa}; ${why}`), fault: 'named' };
  const damaged = chain.find((one) => damageForOpenSsl(one) !== undefined);
  const damage = damaged === undefined ? [] : [`${String(damageForOpenSsl(damaged))}: ${nameOf(damaged)}`];
  if (damaged !== undefined && damageForBmux(damaged) !== undefined)
    return { why: new Error([...damage, why].join('; ')), fault: 'named' };
  const lines = chain.slice(0, SHOWN_MAX).map((one) => {
    const [anchor] = trust.anchorsOf(one.issuer);
    const damage = anchor?.damage === undefined ? '' : `, but ${anchor.damage}`;
    const trusted = anchor === undefined ? 'not trusted' : `trusted in ${anchor.source}${damage}`;
    return `${nameOf(one)} of issuer "${oneLine(one.certificate.issuer)}" (a name that is ${trusted})`;
  });
  if (chain.length > SHOWN_MAX) lines.push(`and ${String(chain.length - SHOWN_MAX)} more`);
  return { why: new Error([...damage, why, ...lines].join('; ')) };
}

/** The presented certificate that the words of OpenSSL are about, where they show which one. */
function faultyOne(why: string, chain: readonly Presented[]): Presented | undefined {
  const now = Date.now();
  const [own, ...others] = chain;
  switch (why) {
    case 'certificate has expired':
      return chain.find(({ certificate: { validTo } }) => Date.parse(validTo) < now);
    case 'certificate is not yet valid':
      return chain.find(({ certificate: { validFrom } }) => Date.parse(validFrom) > now);
    case 'invalid CA certificate':
      return others.find((one) => !isCa(one));
    case 'key usage does not include certificate signing':
      return others.find((one) => !maySign(one));
    case 'unsuitable certificate purpose':
      return chain.find((one) => refusedExtension(one) !== undefined) ?? own;
    default:
      return undefined;
  }
}
