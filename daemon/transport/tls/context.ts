// Makes the OpenSSL context of some anchors, in slices: each anchor takes a tenth of a millisecond and more.
import { createSecureContext, type SecureContext } from 'node:tls';
import { Slices } from '../../base/async/slices.ts';
import { addCertificate } from '../../base/node-internals.ts';
import { pemOf } from './certificates/pem.ts';
import type { Selection } from './trust.ts';

/**
 * Without `allowPartialTrustChain`: each anchor is given to OpenSSL as a self-signed certificate, so nothing else in the context is trusted.
 * Never rejects.
 */
export async function contextWith({ anchors, loose, serial, links = [] }: Selection): Promise<SecureContext> {
  const slices = new Slices();
  const context = createSecureContext({ minVersion: 'TLSv1.2', ca: [] });
  for (const anchor of anchors) {
    await slices.next();
    const asItIs = anchor.mayBePresented && loose !== true;
    addCertificate(context, asItIs ? anchor.original : anchor.reduced(loose !== true, serial));
  }
  for (const link of links) addCertificate(context, pemOf(link));
  return context;
}
