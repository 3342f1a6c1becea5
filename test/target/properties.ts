// Properties that must hold for every target reference. Each takes the number of runs, so that the soak can run them longer.
import fc from 'fast-check';
import { isIPv6 } from 'node:net';
import { Failure } from '../../daemon/base/failure.ts';
import { resolveTarget } from '../../daemon/target/resolve.ts';
import { config, inputs } from './sample.ts';

const word = fc.string({ unit: 'binary', maxLength: 20 });
const punctuated = fc.string({
  unit: fc.constantFrom('a', '1', ':', '[', ']', '/', '?', '&', '=', '@', '%', '.', ' ', 'é', '\0'),
  maxLength: 20,
});
const scheme = fc.constantFrom(
  '',
  'tls://',
  'https://',
  'iroh://',
  'bmux://',
  'ssh://',
  'iroh://x?',
  'iroh://x?addr=',
);
const reference = fc.tuple(scheme, fc.oneof(word, punctuated)).map(([start, rest]) => start + rest);

/** Any reference with any share links gives a target with fields in their ranges, or a Failure. */
export async function anyReferenceGivesTargetOrFailure(runs: number): Promise<void> {
  const targetFields = fc.record(
    {
      transport: fc.constantFrom('local' as const, 'tls' as const, 'iroh' as const, 'ssh' as const),
      host: fc.oneof(word, punctuated),
      endpointId: word,
      port: fc.nat(65535),
      serverName: word,
    },
    { requiredKeys: ['transport'] },
  );
  const links = fc.dictionary(
    fc.constantFrom('a', 'b', 'c', ''),
    fc.oneof(reference, fc.constantFrom('bmux://a', 'bmux://b')),
  );
  const property = fc.asyncProperty(
    fc.oneof(reference, fc.constantFrom('bmux://a', 'bmux://b', 'n')),
    links,
    targetFields,
    async (target, shareLinks, named) => {
      try {
        const { route, compression, connectTimeoutMs, label } = await resolveTarget(
          inputs({ target, config: config({ shareLinks, targets: { n: named } }) }),
        );
        const port = route.transport === 'tls' ? route.port : 0;
        return (
          Number.isInteger(port) && port >= 0 && port <= 65535 &&
          compression.length === (route.transport === 'local' || route.transport === 'ssh' ? 1 : 2) &&
          connectTimeoutMs >= 1 && label !== ''
        ); // oxfmt-ignore
      } catch (error) {
        return error instanceof Failure && error.code !== 'internal';
      }
    },
  );
  await fc.assert(property, { numRuns: runs });
}

/** `tls://` and `https://` with any name or address and any port give exactly that host and port. */
export async function hostAndPortComeBack(runs: number): Promise<void> {
  const host = fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6().filter(isIPv6));
  const property = fc.asyncProperty(
    fc.constantFrom('tls://', 'https://'),
    host,
    fc.option(fc.nat(65535), { nil: undefined }),
    async (start, name, port) => {
      const written = name.includes(':') ? `[${name}]` : name;
      const target = `${start}${written}${port === undefined ? '' : `:${String(port)}`}`;
      const { route } = await resolveTarget(inputs({ target }));
      return (
        route.transport === 'tls' &&
        route.host === name &&
        route.serverName === name &&
        route.port === (port ?? 443)
      );
    },
  );
  await fc.assert(property, { numRuns: runs });
}
