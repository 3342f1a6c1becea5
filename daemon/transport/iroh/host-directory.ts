// The directory in which iroh finds a host of which only the endpoint id is known: a zone of DNS, where hosts publish where they are. The binding
// says the same of a host that is not in it and of a DNS that does not work, so the same question is asked here.
import { Resolver } from 'node:dns/promises';
import { errnoOf, type Failure } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';
import { normalEndpointId } from './binding.ts';

/** The zone of the preset that the endpoint has (`presetN0`). */
const ZONE = 'dns.iroh.link';
/** The alphabet of z-base-32, in which the zone names its hosts. */
const Z32 = 'ybndrfg8ejkmcpqxot1uwisza345h769';
/** ms for the first attempt of a question at each server, and attempts. */
const RESOLVER = { timeout: 1000, tries: 2 };

export class HostDirectory {
  readonly #resolver: Resolver;

  /** `servers` replaces those of the system in tests. */
  constructor(servers?: readonly string[]) {
    this.#resolver = new Resolver(RESOLVER);
    if (servers !== undefined) this.#resolver.setServers(servers);
  }

  /** Why `endpointId` cannot be found; undefined when it can, and for an invalid one. Never rejects. */
  async problem(endpointId: string, label: string): Promise<Failure | undefined> {
    const name = nameOf(endpointId);
    if (name === undefined) return undefined;
    const noZone = await failureOf(this.#resolver.resolve4(ZONE));
    if (noZone !== undefined && errnoOf(noZone) !== 'ENODATA') return unusable(label, noZone);
    const noHost = await failureOf(this.#resolver.resolveTxt(`_iroh.${name}.${ZONE}`));
    if (noHost === undefined) return undefined;
    if (!['ENOTFOUND', 'ENODATA'].includes(errnoOf(noHost) ?? '')) return unusable(label, noHost);
    return fail('iroh_unreachable', { label }, new Error(`${ZONE} knows no address of the host`));
  }

  /** The failure while there is no answer. */
  silent(label: string): Failure {
    return unusable(label, new Error(`no answer of DNS for ${ZONE}`));
  }

  close(): void {
    this.#resolver.cancel();
  }
}

function unusable(label: string, why: unknown): Failure {
  return fail('iroh_dns_failed', { label, zone: ZONE }, why);
}

async function failureOf(answer: Promise<unknown>): Promise<unknown> {
  try {
    await answer;
    return undefined;
  } catch (error) {
    return error;
  }
}

/** The endpoint id as the zone writes it: five bits a letter, the last ones filled up with zeros. Undefined for an invalid id. */
function nameOf(endpointId: string): string | undefined {
  let id: string;
  try {
    id = normalEndpointId(endpointId);
  } catch {
    return undefined;
  }
  const bits = [...Buffer.from(id, 'hex')].map((byte) => byte.toString(2).padStart(8, '0'));
  const fives = bits.join('').match(/.{1,5}/g) ?? [];
  return fives.map((five) => Z32[Number.parseInt(five.padEnd(5, '0'), 2)]).join('');
}
