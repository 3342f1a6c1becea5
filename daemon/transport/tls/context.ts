// Makes the OpenSSL context of some anchors, in slices: each anchor takes a tenth of a millisecond and more.
import { createSecureContext, type SecureContext } from 'node:tls';
import { Slices } from '../../base/async/slices.ts';
import { addCertificate } from '../../base/node-internals.ts';
import { pemOf } from './certificates/pem.ts';
import type { Selection } from './trust.ts';

/** The cipher suites that bmux offers, in its order. OpenSSL's own list has some without forward secrecy or authenticated encryption. */
const CIPHERS = [
  'TLS_AES_256_GCM_SHA384',
  'TLS_AES_128_GCM_SHA256',
  'TLS_CHACHA20_POLY1305_SHA256',
  ...['ECDHE-ECDSA', 'ECDHE-RSA'].flatMap((kind) =>
    ['AES256-GCM-SHA384', 'AES128-GCM-SHA256', 'CHACHA20-POLY1305'].map((cipher) => `${kind}-${cipher}`),
  ),
].join(':');
/** Those of bmux, and those of keys that are refused later, with a text that names the certificate. OpenSSL's own list has SHA-224, too. */
const SIGNATURES = [
  'ECDSA+SHA256',
  'ECDSA+SHA384',
  'ECDSA+SHA512',
  'ed25519',
  'ed448',
  ...['pss', 'rsae'].flatMap((kind) => ['256', '384', '512'].map((bits) => `rsa_pss_${kind}_sha${bits}`)),
  'RSA+SHA256',
  'RSA+SHA384',
  'RSA+SHA512',
].join(':');
const GROUPS = 'X25519:P-256:P-384';

/** The groups of key exchange that bmux offers, and signatures. */
interface Offered {
  readonly ecdhCurve: string;
  readonly sigalgs?: string;
}

/** Found out at the first context, not at each start. */
let offered: Offered | undefined;

/** OpenSSL's own lists stand where it lacks one of ours, as in FIPS mode. */
function offeredHere(): Offered {
  const ecdhCurve = isKnown({ ecdhCurve: GROUPS }) ? GROUPS : 'auto';
  return isKnown({ sigalgs: SIGNATURES }) ? { ecdhCurve, sigalgs: SIGNATURES } : { ecdhCurve };
}

function isKnown(options: Partial<Offered>): boolean {
  try {
    createSecureContext({ ca: [], ...options });
    return true;
  } catch {
    return false;
  }
}

/**
 * Without `allowPartialTrustChain`: each anchor is given to OpenSSL as a self-signed certificate, so nothing else in the context is trusted.
 * Never rejects.
 */
export async function contextWith({ anchors, loose, serial, links = [] }: Selection): Promise<SecureContext> {
  const slices = new Slices();
  offered ??= offeredHere();
  const context = createSecureContext({ minVersion: 'TLSv1.2', ciphers: CIPHERS, ...offered, ca: [] });
  for (const anchor of anchors) {
    await slices.next();
    const asItIs = anchor.mayBePresented && loose !== true;
    addCertificate(context, asItIs ? anchor.original : anchor.reduced(loose !== true, serial));
  }
  for (const link of links) addCertificate(context, pemOf(link));
  return context;
}
