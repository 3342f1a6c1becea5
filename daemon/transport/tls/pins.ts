// Trust in a gateway that no certificate authority verifies: by its pin, else by the mode (docs/bmux-protocol.md, "Certificate pins").
import { createHash, type X509Certificate } from 'node:crypto';
import { addKnownGateway, comparable } from '../../config/bmux/known-gateways.ts';
import { Failure } from '../../base/failure.ts';
import type { TlsRoute } from '../../engine-protocol/plan.ts';
import { gatewayKey } from '../../target/tls-trust.ts';
import { advised, fail } from '../../errors/fail.ts';
import { namesOf } from './server-name.ts';
import type { Trust } from './trust.ts';
import type { Refusal } from './verify.ts';

/** The fingerprint of a certificate, as bmux writes it. */
export function fingerprintOf(certificate: X509Certificate): string {
  return `SHA256:${createHash('sha256').update(certificate.raw).digest('hex')}`;
}

/** Whether the gateway has presented the certificate of its pin. */
export function hasPin({ trust }: TlsRoute, { chain: [own] }: Refusal): boolean {
  if (trust?.pin === undefined || own === undefined) return false;
  return comparable(trust.pin.fingerprint) === comparable(fingerprintOf(own.certificate));
}

/**
 * Decides about a gateway that is refused and does not have its pin. Resolves when it is trusted nevertheless: a new gateway in the mode
 * `trust_new`, which is in the store then. The result is the route with that pin, as the next request has it. Rejects with the failure for the
 * user.
 */
export async function trustOrRefuse(
  route: TlsRoute,
  label: string,
  trusted: Trust,
  refusal: Refusal,
): Promise<TlsRoute> {
  const { trust } = route;
  const key = gatewayKey(route.host, route.port);
  const own = refusal.chain[0]?.certificate;
  if (own === undefined)
    throw advised(fail('tls_handshake_failed', { label }, refusal.why), remedyFor(trusted, refusal));
  const fingerprint = fingerprintOf(own);
  const failed = (text: string): Failure =>
    fail('tls_handshake_failed', { label }, new Error(text, { cause: refusal.why }));
  const changed = (pin: string, from: string): Failure => {
    const expected = `expected ${pin} from ${from}, received ${fingerprint}`;
    const text = `bmux TLS gateway identity changed for ${key}; ${expected}`;
    return fail('tls_identity_changed', { label, key }, new Error(text, { cause: refusal.why }));
  };
  if (trust?.problem !== undefined) throw new Failure(trust.problem, refusal.why);
  if (trust?.pin !== undefined) {
    const failure = changed(trust.pin.fingerprint, trust.pin.from);
    throw trust.pin.from === 'declarative config'
      ? advised(
          failure,
          `If that is right, change connections.tls_trust.known_gateways."${key}" in the config; \`bmuxd doctor\` shows its file.`,
        )
      : failure;
  }
  // A CA file says who may vouch for the gateway. Its answer was no.
  if (trust?.mode === 'trust_new' && route.caFile === undefined) {
    const now = await addKnownGateway(trust.store, key, {
      fingerprint,
      serverName: route.serverName,
      label,
    });
    const pin = { fingerprint: now.fingerprint, from: 'local known-gateways store' } as const;
    if (comparable(pin.fingerprint) === comparable(fingerprint))
      return { ...route, trust: { ...trust, pin } };
    throw changed(pin.fingerprint, pin.from);
  }
  const how = `bmuxd trust add ${key} --fingerprint ${fingerprint}`;
  const remedy = `${remedyFor(trusted, refusal)} Or trust this certificate alone: \`${how}\`, when the gateway shows that fingerprint.`;
  throw advised(
    failed(
      trust?.mode === 'require_known'
        ? `bmux TLS gateway ${key} is unknown; add a declarative pin or run 'bmux remote trust add tls://${key}'`
        : `bmux TLS gateway ${key} is unknown; fingerprint ${fingerprint}; trust prompt required`,
    ),
    remedy,
  );
}

/** What to do so that the certificate is verified. */
function remedyFor({ caFile }: Trust, { kind, chain, fault }: Refusal): string {
  const own = chain[0]?.certificate;
  const names = own === undefined ? undefined : namesOf(own);
  if (kind === 'name' && names === undefined) return 'Let the gateway present a certificate with names.';
  if (kind === 'name') return `Set server_name to one of the names of the certificate: ${String(names)}.`;
  if (fault === 'named') return 'Let the gateway present certificates without that fault.';
  if (fault === 'time')
    return 'Let the gateway present a certificate that is valid now, or correct the clock of this machine.';
  if (fault === 'strict')
    return 'OpenSSL refuses here what bmux may accept (docs/targets.md, "Where bmuxd is stricter than bmux"): let the gateway present another certificate.';
  // Only a certificate that has signed itself vouches for itself.
  const issued = own !== undefined && own.issuer !== own.subject;
  const wanted = `the certificate of ${issued ? '' : 'the gateway, or of '}the CA that has issued ${issued ? 'that of the gateway' : 'it'}`;
  if (caFile === undefined) return `Set ca_file to ${wanted}.`;
  if (caFile.holds !== undefined)
    return `ca_file ${caFile.path} holds ${caFile.holds}. It must hold PEM certificates.`;
  return `Let ca_file ${caFile.path} hold ${wanted}.`;
}
