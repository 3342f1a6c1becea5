// Checks docs/control-socket.md against a running daemon: its routes exist, and it explains every field of every answer.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BMUXD, makeSandbox, startBmuxd } from '../daemon/bmuxd.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { Check, Errors } from 'typebox/schema';
import { ROUTES, type RouteRow } from '../../daemon/api/openapi/routes.ts';
import { repositoryRoot, run } from '../real/index.ts';

const PAGE = readFileSync(join(repositoryRoot(), 'docs/control-socket.md'), 'utf8');

/** Every key in a JSON value. */
function keysOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(keysOf);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [key, ...keysOf(inner)]);
}

/** What is read of the description. */
interface Described {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: unknown;
}

interface Operation {
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly schema?: { readonly maximum?: number };
  }[];
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { schema: object }>> }>
  >;
}

function operationsOf({ paths }: Described): string[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
}

/** Why an answer is not as described; empty when it is. */
function wrongIn(
  { paths, components }: Described,
  answer: { method: string; path: string; status: number; type: string; body: unknown },
): string[] {
  const { method, path, status, type, body } = answer;
  const { responses } = paths[path]?.[method.toLowerCase()] ?? { responses: {} };
  const response = responses[String(status)] ?? responses[`${String(status).charAt(0)}XX`];
  const schema = response?.content?.[type.split(';', 1)[0] ?? '']?.schema;
  if (schema === undefined) return [`${String(status)} ${type} is not described`];
  const whole = { ...schema, components };
  return Check(whole, body) ? [] : [JSON.stringify(Errors(whole, body))];
}

t.test('routes and fields are documented', async (t) => {
  const sandbox = await makeSandbox({
    config: '[connections.targets.gone]\ntransport = "tls"\nhost = "127.0.0.1"\nport = 1\n',
  });
  t.teardown(() => sandbox.remove());
  const server = await EmbeddedServer.start({
    socketPath: join(sandbox.env['BMUX_RUNTIME_DIR'] ?? sandbox.folder, 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const daemon = await startBmuxd({ sandbox });
  t.teardown(() => daemon.stop());
  const { stream, info } = await daemon.open({ target: 'local' });
  t.teardown(() => stream.destroy());
  await t.rejects(daemon.open({ target: 'gone' }), /TLS target unreachable: gone/);

  const table = /\| request\s+\| answer[\s\S]*?\n<!--/.exec(PAGE)?.[0] ?? '';
  const routes = [...table.matchAll(/^\| `(GET|POST|DELETE) (\S+)`/gm)].map(
    ([, method = '', path = '']) => [method, path] as const,
  );
  t.strictSame(Object.keys(ROUTES).sort(), routes.map(([method, path]) => `${method} ${path}`).sort());
  const described = (await daemon.http('GET', '/v1/openapi.json')).body as Described;
  t.strictSame(operationsOf(described).sort(), Object.keys(ROUTES).sort());
  for (const [name, { query = {} }] of Object.entries<RouteRow>(ROUTES)) {
    const [method = '', path = ''] = name.split(' ');
    const { parameters = [] } = described.paths[path]?.[method.toLowerCase()] ?? {};
    t.strictSame(
      parameters.filter((one) => one.in === 'query').map((one) => one.name),
      Object.keys(query),
      name,
    );
    for (const key of Object.keys(query))
      t.ok(PAGE.includes(`\`${name}?${key}=`), `${name}: ${key} is explained`);
  }
  // The daemon refuses what the description does not allow.
  const drain = described.paths['/v1/stop']?.['post']?.parameters?.find((one) => one.name === 'drainMs');
  t.match(drain, { in: 'query', schema: { type: 'integer', minimum: 0 } });
  for (const value of ['-1', '1.5', 'x', '', String(Number(drain?.schema?.maximum) + 1)])
    t.match(await daemon.http('POST', `/v1/stop?drainMs=${value}`), {
      status: 400,
      body: { code: 'request_field_invalid' },
    });
  const explained = (key: string): boolean => PAGE.includes(`\`${key}\``) || key === 'schema';
  for (const key of keysOf(info)) t.ok(explained(key), `Bmux-Stream: ${key}`);
  for (const [method, path] of routes) {
    // These two are left out: events do not end, and a stopped daemon answers no further request.
    if (path === '/v1/events' || path === '/v1/stop') continue;
    const where = path.replace('{id}', 'none-1');
    const { status, type, body } = await daemon.http(method, where);
    t.strictSame(
      wrongIn(described, { method, path, status, type, body }),
      [],
      `${method} ${path} as described`,
    );
    const wrong = await daemon.http('PATCH', where);
    t.match(wrong, { status: 405, body: { code: 'method_unknown' } }, `PATCH ${path}`);
    t.match(wrong.allow, new RegExp(`\\b${method}\\b`));
    // What the description may hold is JSON Schema, and the metrics are no JSON.
    if (path === '/v1/openapi.json' || path === '/v1/metrics') continue;
    t.notMatch(body, { code: 'route_unknown' }, `${method} ${path}`);
    for (const key of keysOf(body)) t.ok(explained(key), `${method} ${path}: ${key}`);
  }
});

t.test('what commands print with --json is documented', async (t) => {
  const daemon = await startBmuxd({ config: '[connections.targets.here]\ntransport = "local"\n' });
  t.teardown(() => daemon.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(daemon.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const rows = PAGE.slice(PAGE.indexOf('## `--json` of the commands'));
  const calls: [row: string, args: string[]][] = [
    ['status TARGET', ['status', 'here', '--json']],
    ['ping', ['ping', '-c', '1', 'here', '--json']],
    ['trust list', ['trust', 'list', '--json']],
    ['service status', ['service', 'status', '--json']],
    ['doctor', ['doctor', 'here', '--json']],
  ];
  for (const [row, args] of calls) {
    const { stdout } = await run(process.execPath, [BMUXD, ...args], daemon.env);
    const printed = JSON.parse(stdout) as Record<string, unknown>;
    t.match(printed, { schema: 1 }, row);
    const text = rows.split('\n').find((line) => line.startsWith(`| \`${row}\``)) ?? '';
    for (const key of Object.keys(printed)) t.ok(text.includes(`\`${key}\``), `${row}: ${key}`);
  }
});
