// Properties of the lines of a host that demands SSH auth: a few runs in `npm test`, a million in the soak.
import fc from 'fast-check';
import { Failure } from '../../daemon/base/failure.ts';
import { parseChallenge, parseResult } from '../../daemon/transport/ssh-auth/messages.ts';

/** Any line, JSON or not, valid or almost valid, is parsed or fails with `line_invalid`. */
export function anyLineGivesResultOrFailure(runs: number): void {
  const almost = fc.record(
    {
      type: fc.constantFrom('challenge', 'result', 'hello'),
      challenge: fc.oneof(fc.array(fc.integer({ min: -1, max: 256 }), { maxLength: 40 }), fc.anything()),
      allowed_fingerprints: fc.oneof(fc.array(fc.string()), fc.anything()),
      ok: fc.oneof(fc.boolean(), fc.anything()),
      error: fc.oneof(fc.string(), fc.anything()),
    },
    { requiredKeys: ['type'] },
  );
  const line = fc.oneof(
    fc.json(),
    fc.string(),
    almost.map((value) => JSON.stringify(value, (_key, one: unknown) => (typeof one === 'bigint' ? 0 : one))),
  );
  const holds = (text: string): void => {
    for (const parse of [parseChallenge, parseResult]) {
      try {
        parse(text);
      } catch (error) {
        if (!(error instanceof Failure && error.code === 'line_invalid')) throw error;
      }
    }
  };
  fc.assert(fc.property(line, holds), { numRuns: runs });
}
