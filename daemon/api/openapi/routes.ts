// The routes of the control socket, as data: the server serves exactly these, and `GET /v1/openapi.json` describes them.
import {
  isBrokerEvent,
  isDone,
  isHealth,
  isLoginAnswer,
  isReloaded,
  isStatus,
  isStreamList,
  isTargetList,
  isTargetSocketAnswer,
  isVersion,
} from '../answer-shapes.ts';
import { isConfigReport } from '../config/report.ts';
import { anything, object, type Shape } from '../shape.ts';
import { isStreamEnd } from '../stream-end.ts';

export interface RouteRow {
  /** Name of the operation. */
  readonly id: string;
  readonly about: string;
  /** It takes a Bmux-Request header. */
  readonly takesRequest?: true;
  /** Parameters of the query, each with what it means. They are whole numbers, and may be missing. */
  readonly query?: Readonly<Record<string, string>>;
  /** Status and content of the answer. Any other status has a problem document. */
  readonly status: number;
  readonly type?: string;
  readonly shape?: Shape<unknown>;
  /** Further answers, by status. */
  readonly also?: Readonly<Record<number, string>>;
}

/** By method and path; `{id}` is the id of a stream. */
export const ROUTES = {
  'GET /v1/health': {
    id: 'getHealth',
    about: 'whether the daemon is `starting`, `ready` or `degraded`; asks no other process',
    status: 200,
    shape: isHealth,
  },
  'GET /v1/health/live': {
    id: 'getLive',
    about: 'control answers; 503 after errors that nothing has handled, for which a restart helps',
    status: 200,
    shape: isHealth,
  },
  'GET /v1/health/ready': {
    id: 'getReady',
    about: 'streams are accepted; 503 with the reason while they are not',
    status: 200,
    shape: isHealth,
  },
  'GET /v1/version': {
    id: 'getVersion',
    about: 'versions of bmuxd and Node',
    status: 200,
    shape: isVersion,
  },
  'GET /v1/config': {
    id: 'getConfig',
    about:
      'the settings and the config of a context in force, each value with the file and line that sets it',
    takesRequest: true,
    status: 200,
    shape: isConfigReport,
  },
  'GET /v1/openapi.json': {
    id: 'getOpenapi',
    about: 'this description of the socket, OpenAPI 3.1',
    status: 200,
    shape: object<{ openapi: unknown }>({ openapi: anything }),
  },
  'GET /v1/status': {
    id: 'getStatus',
    about: 'engines, contexts, upstreams, problems',
    status: 200,
    shape: isStatus,
  },
  'GET /v1/metrics': {
    id: 'getMetrics',
    about: 'the metrics for Prometheus',
    status: 200,
    type: 'text/plain',
  },
  'GET /v1/targets': {
    id: 'getTargets',
    about: "the targets of the daemon's own config, or of the context that `Bmux-Request` names",
    takesRequest: true,
    status: 200,
    shape: isTargetList,
  },
  'GET /v1/streams': { id: 'getStreams', about: 'streams of all engines', status: 200, shape: isStreamList },
  'GET /v1/streams/{id}/end': {
    id: 'getStreamEnd',
    about: 'how a stream ended',
    status: 200,
    shape: isStreamEnd,
  },
  'POST /v1/streams': {
    id: 'openStream',
    about: '`wrong_socket`: streams are opened on `streams.sock`',
    takesRequest: true,
    status: 421,
    also: {
      101: 'On `streams.sock`, with `Upgrade: bmux-stream/1`: the connection is the stream.',
      204: 'On `streams.sock`, with `ifRunning`: no server runs there.',
    },
  },
  'POST /v1/plans': {
    id: 'makePlan',
    about: 'the plan of a request that an engine without a control process holds; for engines only',
    takesRequest: true,
    status: 200,
    shape: object<{ plan: unknown }>({ plan: anything }),
  },
  'DELETE /v1/streams/{id}': {
    id: 'endStream',
    about: 'that stream is being ended gracefully',
    status: 202,
    shape: isDone,
  },
  'POST /v1/target-sockets': {
    id: 'makeTargetSocket',
    about: 'a target socket for an unmodified bmux',
    takesRequest: true,
    status: 200,
    shape: isTargetSocketAnswer,
  },
  'GET /v1/events': {
    id: 'followEvents',
    about: 'the last events, then each new one',
    status: 200,
    type: 'text/event-stream',
    shape: isBrokerEvent,
  },
  'POST /v1/warm': {
    id: 'warmTarget',
    about: 'a warm connection or a spare of a target is being made; an unknown target is refused',
    takesRequest: true,
    status: 202,
    shape: isDone,
  },
  'POST /v1/drop': {
    id: 'dropTarget',
    about:
      'warm connections and spares of a target are closed; live streams go on; an unknown target is refused',
    takesRequest: true,
    status: 202,
    shape: isDone,
  },
  'POST /v1/login': {
    id: 'howToLogIn',
    about: 'how `ssh` logs in to an SSH target in a terminal, as `bmuxd login` runs it',
    takesRequest: true,
    status: 200,
    shape: isLoginAnswer,
  },
  'POST /v1/reload': {
    id: 'reload',
    about: 'settings and configs have been read again',
    status: 200,
    shape: isReloaded,
  },
  'POST /v1/stop': {
    id: 'stop',
    about: 'every stream is ended gracefully, then the daemon exits',
    query: { drainMs: 'How many milliseconds live streams may go on first.' },
    status: 202,
    shape: isDone,
  },
} as const satisfies Readonly<Record<string, RouteRow>>;

/** The greatest number in a query. */
export const MAX_QUERY = 999_999_999_999;

export type RouteName = keyof typeof ROUTES;
export type Method = 'GET' | 'POST' | 'DELETE';

/** All routes with their method and path. */
export const ROUTE_LIST: readonly (RouteRow & {
  readonly name: RouteName;
  readonly method: Method;
  readonly path: string;
})[] = Object.entries(ROUTES).map(([name, row]) => {
  const [method = '', path = ''] = name.split(' ');
  return { ...row, name: name as RouteName, method: method as Method, path };
});

/** The methods that `path` has, for the header Allow; empty when there is no such path. */
export function methodsOf(path: string): string[] {
  const methods = ROUTE_LIST.filter((route) => fits(route.path, path)).map(({ method }) => method);
  return methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
}

function fits(pattern: string, path: string): boolean {
  const parts = path.split('/');
  const wanted = pattern.split('/');
  return (
    parts.length === wanted.length &&
    wanted.every((part, index) => part === parts[index] || (part === '{id}' && parts[index] !== ''))
  );
}
