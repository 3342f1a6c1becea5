// The description of the control socket, OpenAPI 3.1, made from the routes and from the checks of requests and answers.
import type { ErrorClass } from '../../base/failure.ts';
import { PROBLEM_TYPE, type Problem } from '../../errors/problem.ts';
import * as answers from '../answer-shapes.ts';
import { isConfigReport, isConfigRow } from '../config/report.ts';
import { RequestSchema } from '../request.ts';
import { list, number, object, optional, text, word, type JsonSchema, type Shape } from '../shape.ts';
import { isStreamEnd } from '../stream-end.ts';
import { MAX_QUERY, ROUTE_LIST, type RouteRow } from './routes.ts';

const isProblem: Shape<Problem> = object<Problem>({
  type: text,
  title: text,
  status: number,
  code: text,
  class: word<ErrorClass>(),
  detail: text,
  remedy: text,
  exitStatus: number,
  causes: list(text),
  warnings: optional(list(text)),
  requestId: optional(text),
});

/** The schemas that have a name in the description. The others are written where they are used. */
const NAMED: ReadonlyMap<unknown, string> = new Map<unknown, string>([
  [isProblem.schema, 'Problem'],
  [RequestSchema, 'StreamRequest'],
  [answers.isBrokerEvent.schema, 'BrokerEvent'],
  [isConfigReport.schema, 'ConfigReport'],
  [isConfigRow.schema, 'ConfigRow'],
  [answers.isContextRow.schema, 'ContextRow'],
  [answers.isDone.schema, 'Done'],
  [answers.isEngineRow.schema, 'EngineRow'],
  [answers.isFailure.schema, 'Failure'],
  [answers.isHealth.schema, 'Health'],
  [answers.isPlanningRow.schema, 'PlanningRow'],
  [answers.isReloaded.schema, 'Reloaded'],
  [answers.isStatus.schema, 'Status'],
  [answers.isStatusProblem.schema, 'StatusProblem'],
  [answers.isStreamList.schema, 'StreamList'],
  [answers.isStreamRow.schema, 'StreamRow'],
  [answers.isTargetList.schema, 'TargetList'],
  [answers.isTargetRow.schema, 'TargetRow'],
  [answers.isTargetSocketAnswer.schema, 'TargetSocketAnswer'],
  [answers.isUpstreamRow.schema, 'UpstreamRow'],
  [answers.isVersion.schema, 'Version'],
  [isStreamEnd.schema, 'StreamEnd'],
]);

/** The document as JSON. `version`: that of bmuxd. */
export function openapi(version: string): JsonSchema {
  return {
    openapi: '3.1.0',
    info: {
      title: 'The control socket of bmuxd',
      version,
      description:
        'HTTP/1.1 on the Unix socket control.sock. Streams are opened on streams.sock beside it. Fields are only added.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    // The name of the host has no meaning on a Unix socket.
    servers: [{ url: 'http://bmuxd' }],
    security: [],
    paths: pathsOf(),
    components: {
      schemas: Object.fromEntries([...NAMED].map(([schema, name]) => [name, innerOf(schema)])),
    },
  };
}

function pathsOf(): JsonSchema {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of ROUTE_LIST)
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operationOf(route) };
  return paths;
}

function operationOf(route: RouteRow & { readonly path: string }): JsonSchema {
  const parameters = [
    ...(route.path.includes('{id}')
      ? [
          {
            name: 'id',
            in: 'path',
            required: true,
            description: 'Id of a stream.',
            schema: { type: 'string' },
          },
        ]
      : []),
    ...Object.entries(route.query ?? {}).map(([name, description]) => ({
      name,
      in: 'query',
      description,
      schema: { type: 'integer', minimum: 0, maximum: MAX_QUERY },
    })),
    ...(route.takesRequest === true
      ? [
          {
            name: 'Bmux-Request',
            in: 'header',
            description: 'One JSON object in ASCII.',
            content: { 'application/json': { schema: referTo(RequestSchema) } },
          },
        ]
      : []),
  ];
  const refusal = { description: 'A problem document.', content: contentOf(PROBLEM_TYPE, isProblem) };
  const { shape, type = shape === undefined ? undefined : 'application/json' } = route;
  const description = `${route.about.charAt(0).toUpperCase()}${route.about.slice(1)}.`;
  const content = type === undefined ? {} : { content: contentOf(type, shape) };
  const answers = [
    ...Object.entries(route.also ?? {}).map(([status, what]) => [status, { description: what }] as const),
    ...(route.status >= 400 ? [] : [[String(route.status), { description, ...content }] as const]),
  ];
  return {
    operationId: route.id,
    summary: description,
    ...(parameters.length === 0 ? {} : { parameters }),
    responses: { ...Object.fromEntries<unknown>(answers), '4XX': refusal, '5XX': refusal },
  };
}

function contentOf(type: string, shape: Shape<unknown> | undefined): JsonSchema {
  if (shape === undefined) return { [type]: { schema: { type: 'string' } } };
  if (!type.startsWith('text/')) return { [type]: { schema: referTo(shape.schema) } };
  const schema = {
    type: 'string',
    description: 'The text of each line `data`.',
    contentMediaType: 'application/json',
    contentSchema: referTo(shape.schema),
  };
  return { [type]: { schema } };
}

/** A reference to a schema with a name; the schema itself, with references in it, where it has none. */
function referTo(schema: unknown): unknown {
  const name = NAMED.get(schema);
  return name === undefined ? innerOf(schema) : { $ref: `#/components/schemas/${name}` };
}

function innerOf(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(referTo);
  if (typeof schema !== 'object' || schema === null) return schema;
  return Object.fromEntries(Object.entries(schema).map(([key, inner]) => [key, referTo(inner)]));
}
