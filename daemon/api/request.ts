// Schema of a request for a stream: the JSON of the Bmux-Request header.
import { Type } from 'typebox';
import { ENV_WHITELIST } from './caller-env.ts';

export { ENV_WHITELIST, whitelisted, type CallerEnv, type EnvName } from './caller-env.ts';
export type { Scope, StreamRequest } from './request-types.ts';
export { MAX_REQUEST_BYTES, STREAM_PROTOCOL } from './upgrade.ts';

const text = (maxLength = 4096) => Type.String({ maxLength });
const U32 = Type.Integer({ minimum: 0, maximum: 0xffff_ffff });

/** Validates the types of daemon/api/request-types.ts; tests check that both agree. */
const ContractSchema = Type.Object(
  {
    epoch: Type.Union([Type.Literal(3), Type.Literal(4)]),
    revisions: Type.Optional(Type.Object({ min: U32, max: U32 }, { additionalProperties: false })),
    capabilities: Type.Optional(Type.Array(text(256), { maxItems: 256 })),
  },
  { additionalProperties: false },
);

export const RequestSchema = Type.Object(
  {
    target: Type.Optional(text()),
    scope: Type.Optional(Type.Union([Type.Literal('normal'), Type.Literal('recovery_inspection')])),
    policy: Type.Optional(Type.Boolean()),
    unknownTarget: Type.Optional(Type.Union([Type.Literal('local'), Type.Literal('refuse')])),
    ifRunning: Type.Optional(Type.Boolean()),
    clientName: Type.Optional(text(256)),
    contract: Type.Optional(ContractSchema),
    buildId: Type.Optional(text(256)),
    slot: Type.Optional(text(256)),
    cwd: Type.Optional(text()),
    env: Type.Optional(
      Type.Object(Object.fromEntries(ENV_WHITELIST.map((name) => [name, Type.Optional(text())])), {
        additionalProperties: false,
      }),
    ),
  },
  { additionalProperties: false },
);
