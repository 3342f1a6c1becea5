// Checks for the answers in answers.ts. The CLI uses them for answers of control, and control for answers of engines.
import type { FailureData } from '../base/failure.ts';
import type { ErrorClass } from '../base/failure.ts';
import type {
  BrokerEvent,
  ContextRow,
  EngineRow,
  EngineStatus,
  LoginAnswer,
  LostConnections,
  Health,
  PlanningRow,
  Status,
  StatusProblem,
  StreamList,
  StreamRow,
  TargetList,
  TargetRow,
  TargetSocketAnswer,
  UpstreamRow,
  Version,
  Wait,
} from './answers.ts';
import { isTally } from './metrics/tally.ts';
import {
  exactly,
  list,
  number,
  object,
  oneOf,
  optional,
  shaped,
  text,
  truth,
  word,
  type Fields,
  type Shape,
} from './shape.ts';

/** ms since the Unix epoch, in the range of time values of ECMA-262. `toISOString` throws for a `Date` outside it. */
const time = shaped(
  { type: 'number', minimum: -8.64e15, maximum: 8.64e15 },
  (value): value is number => number(value) && Math.abs(value) <= 8.64e15,
);
const schema = exactly(1);
const epoch = oneOf(3, 4);

export const isFailure: Shape<FailureData> = object<FailureData>({
  code: text,
  class: optional(word<ErrorClass>()),
  detail: text,
  remedy: text,
  exitStatus: number,
  status: number,
  causes: list(text),
  warnings: optional(list(text)),
});

export const isStreamRow: Shape<StreamRow> = object<StreamRow>({
  id: text,
  generation: text,
  requestId: text,
  target: text,
  transport: word(),
  state: word(),
  clientName: text,
  clientPid: optional(number),
  sinceMs: time,
  waiting: optional(object<Wait>({ step: word(), sinceMs: time })),
  epoch: optional(epoch),
  compression: optional(word()),
  bytesUp: number,
  bytesDown: number,
});

export const isPlanningRow: Shape<PlanningRow> = object<PlanningRow>({
  generation: text,
  requestId: text,
  clientPid: optional(number),
  sinceMs: time,
});

export const isStreamList: Shape<StreamList> = object<StreamList>({
  schema,
  streams: list(isStreamRow),
  planning: optional(list(isPlanningRow)),
  silent: list(text),
  otherVersion: optional(list(text)),
});

export const isEngineRow: Shape<EngineRow> = object<EngineRow>({
  generation: text,
  pid: number,
  version: text,
  sinceMs: time,
  state: word(),
  streams: number,
});

export const isUpstreamRow: Shape<UpstreamRow> = object<UpstreamRow>({
  address: text,
  target: text,
  transport: word(),
  epoch: optional(epoch),
  compression: optional(word()),
  state: word(),
  failingSinceMs: optional(time),
  lastStreamMs: optional(time),
  roundTripMs: optional(number),
  spares: number,
  connections: number,
  warm: truth,
  warmSinceMs: optional(time),
  streams: number,
  lastError: optional(object({ code: text, class: word<ErrorClass>(), detail: text, atMs: time })),
});

export const isEngineStatus: Shape<EngineStatus> = object<EngineStatus>({
  schema,
  engine: isEngineRow,
  upstreams: list(isUpstreamRow),
  tally: optional(isTally),
  problems: optional(list(isFailure)),
});

export const isStatusProblem: Shape<StatusProblem> = object<StatusProblem>({
  where: text,
  failure: isFailure,
});

export const isLostConnections: Shape<LostConnections> = object<LostConnections>({
  address: text,
  target: text,
  count: number,
  atMs: time,
});

export const isContextRow: Shape<ContextRow> = object<ContextRow>({
  key: text,
  runtimeDir: text,
  slot: optional(text),
  files: list(text),
  targets: number,
});

/** The status begins with these fields. */
const health: Fields<Health> = {
  schema,
  state: word(),
  pid: number,
  version: text,
  sinceMs: time,
  log: optional(text),
  start: optional(text),
  namespace: optional(text),
};

export const isHealth: Shape<Health> = object<Health>(health);

export const isStatus: Shape<Status> = object<Status>({
  ...health,
  socket: text,
  engines: list(isEngineRow),
  streams: number,
  contexts: list(isContextRow),
  upstreams: list(isUpstreamRow),
  problems: list(isStatusProblem),
  lostConnections: optional(list(isLostConnections)),
});

export const isVersion: Shape<Version> = object<Version>({
  schema,
  version: text,
  node: text,
  platform: text,
  arch: text,
});

/** An answer that says no more than that it was done. */
export const isDone: Shape<Pick<Status, 'schema'>> = object({ schema });

/** The answer to a reload. */
export const isReloaded: Shape<Pick<Status, 'schema' | 'problems'>> = object({
  schema,
  problems: list(isStatusProblem),
});

export const isTargetRow: Shape<TargetRow> = object<TargetRow>({
  name: text,
  transport: text,
  address: text,
  isDefault: truth,
  failure: optional(isFailure),
});

export const isTargetList: Shape<TargetList> = object<TargetList>({ schema, targets: list(isTargetRow) });

export const isLoginAnswer: Shape<LoginAnswer> = object<LoginAnswer>({
  schema,
  target: text,
  path: text,
  login: list(text),
  check: list(text),
});

export const isTargetSocketAnswer: Shape<TargetSocketAnswer> = object<TargetSocketAnswer>({
  schema,
  target: text,
  runtimeDir: text,
  socketPath: text,
});

export const isBrokerEvent: Shape<BrokerEvent> = object<BrokerEvent>({
  atMs: time,
  type: word(),
  target: optional(text),
  requestId: optional(text),
  streamId: optional(text),
  code: optional(text),
  class: optional(word<ErrorClass>()),
  detail: optional(text),
});
