// Checks the form of a plan that the next control process has made: it may be of another version than this engine.
import { isFailure } from '../api/answer-shapes.ts';
import type { RequestContract } from '../api/request-types.ts';
import { list, number, object, oneOf, optional, shaped, text, truth, type Shape } from '../api/shape.ts';
import type { Compression } from '../bmux-ipc/epoch.ts';
import type {
  Client,
  Destination,
  GatewayTrust,
  IrohRoute,
  LocalRoute,
  Plan,
  Principal,
  Route,
  SshRoute,
  TlsRoute,
} from './plan.ts';

const epoch = oneOf(3, 4);
const compression = oneOf<Compression>('zstd', 'none');

function either<A, B>(a: Shape<A>, b: Shape<B>): Shape<A | B> {
  return shaped({ anyOf: [a.schema, b.schema] }, (value): value is A | B => a(value) || b(value));
}

function some<T>(item: Shape<T>): Shape<readonly [T, ...T[]]> {
  const items = list(item);
  return shaped(
    { ...items.schema, minItems: 1 },
    (value): value is readonly [T, ...T[]] => items(value) && value.length > 0,
  );
}

const localRoute = object<LocalRoute>({ transport: oneOf('local'), socketPath: text });

const trust = object<GatewayTrust>({
  mode: oneOf('prompt', 'require_known', 'trust_new'),
  pin: optional(
    object({ fingerprint: text, from: oneOf('declarative config', 'local known-gateways store') }),
  ),
  store: text,
  problem: optional(isFailure),
});

const tlsRoute = object<TlsRoute>({
  transport: oneOf('tls'),
  host: text,
  port: number,
  serverName: text,
  caFile: optional(text),
  trust: optional(trust),
});

const irohRoute = object<IrohRoute>({
  transport: oneOf('iroh'),
  endpointId: text,
  relayUrl: optional(text),
  ipAddr: optional(text),
  sshAuth: truth,
  agentSocket: optional(text),
  earlierAgents: optional(list(text)),
});

const sshRoute = object<SshRoute>({
  transport: oneOf('ssh'),
  host: text,
  user: optional(text),
  port: optional(number),
  identityFile: optional(text),
  knownHostsFile: optional(text),
  strictHostKeyChecking: truth,
  jump: optional(text),
  remoteBmuxPath: text,
  startsServer: truth,
  agentSocket: optional(text),
  tickets: optional(text),
  earlierAgents: optional(list(text)),
});

const route: Shape<Route> = either(either(localRoute, tlsRoute), either(irohRoute, sshRoute));

const destination = object<Destination>({
  label: text,
  route,
  compression: some(compression),
  compressionStated: truth,
  epochHint: optional(epoch),
  connectTimeoutMs: number,
  link: optional(text),
  warnings: list(text),
  address: text,
  context: text,
  runtime: object({ name: text, socket: text }),
});

const principal: Shape<Principal> = either(object({ id: text }), object({ failure: isFailure }));

const client = object<Client>({
  requestId: text,
  name: text,
  principal,
  contract: optional(
    object<RequestContract>({
      epoch,
      revisions: optional(object({ min: number, max: number })),
      capabilities: optional(list(text)),
    }),
  ),
  ifRunning: truth,
  toldByAnswer: optional(truth),
  otherRoots: optional(list(text)),
  warnings: list(text),
});

export const isPlan: Shape<Plan> = object<Plan>({ destination, client, budgetMs: number });
