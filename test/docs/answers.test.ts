// Checks docs/control-socket.md against a running daemon: its routes exist, and it explains every field of every answer.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeSandbox, startBmuxd } from '../daemon/bmuxd.ts';
import { EmbeddedServer } from '../embedded/server/server.ts';
import { repositoryRoot } from '../real/index.ts';

const PAGE = readFileSync(join(repositoryRoot(), 'docs/control-socket.md'), 'utf8');

/** Every key in a JSON value. */
function keysOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(keysOf);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [key, ...keysOf(inner)]);
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

  const table = /\| request\s+\| answer[\s\S]*?\n\n/.exec(PAGE)?.[0] ?? '';
  const routes = [...table.matchAll(/^\| `(GET|POST|DELETE) (\S+)`/gm)].map(
    ([, method = '', path = '']) => [method, path] as const,
  );
  // All routes in the source must be documented.
  const source = readFileSync(join(repositoryRoot(), 'daemon/control/http/server.ts'), 'utf8');
  const real = [...source.matchAll(/\bapp\.(get|post|delete)\b[^(]*\('([^']+)'/g)].map(
    ([, method = '', path = '']) => `${method.toUpperCase()} ${path.replace(':id', '{id}')}`,
  );
  t.strictSame(real.sort(), routes.map(([method, path]) => `${method} ${path}`).sort());
  const explained = (key: string): boolean => PAGE.includes(`\`${key}\``) || key === 'schema';
  for (const key of keysOf(info)) t.ok(explained(key), `Bmux-Stream: ${key}`);
  for (const [method, path] of routes) {
    // These two are left out: events do not end, and a stopped daemon answers no further request.
    if (path === '/v1/events' || path === '/v1/stop') continue;
    const { body } = await daemon.http(method, path.replace('{id}', 'none-1'));
    t.notMatch(body, { code: 'route_unknown' }, `${method} ${path}`);
    for (const key of keysOf(body)) t.ok(explained(key), `${method} ${path}: ${key}`);
  }
});
