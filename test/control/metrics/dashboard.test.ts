// Tests the dashboard of docs/: it has every metric, and each query has an answer of a real Prometheus that has scraped the daemon.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { METRICS, type MetricRow } from '../../../daemon/api/metrics/table.ts';
import { startBmuxd } from '../../daemon/bmuxd.ts';
import { TestClient } from '../../embedded/client.ts';
import { EmbeddedServer } from '../../embedded/server/server.ts';
import { freePort, onPath, repositoryRoot, startChild, waitFor } from '../../real/index.ts';

interface Dashboard {
  readonly panels: readonly {
    readonly id: number;
    readonly title: string;
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
    readonly targets: readonly { readonly expr: string }[];
  }[];
}

const path = join(repositoryRoot(), 'docs/grafana-dashboard.json');
const { panels } = JSON.parse(await readFile(path, 'utf8')) as Dashboard;
const queries = panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ title, expr })));

t.test('the dashboard has every metric, and no other', async (t) => {
  const rows: [string, MetricRow][] = Object.entries(METRICS);
  const names = new Set(queries.flatMap(({ expr }) => expr.match(/\bbmuxd_\w+/g) ?? []));
  const known = rows.flatMap(([name, { type }]) =>
    type === 'histogram' ? [`${name}_bucket`, `${name}_count`] : [name],
  );
  for (const name of names) t.ok(known.includes(name), name);
  for (const [name] of rows)
    t.ok(
      [...names].some((one) => one.startsWith(name)),
      `${name} is shown`,
    );
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length, 'ids');
  for (const { title, gridPos } of panels) t.ok(gridPos.x + gridPos.w <= 24, `${title} fits`);
});

const missing = onPath('prometheus') === undefined && 'prometheus not found';
t.test('each query has an answer', { skip: missing }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bp-'));
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  const [scraped, asked] = [await freePort(), await freePort()];
  const daemon = await startBmuxd({
    config: '[connections.targets.gone]\ntransport = "tls"\nhost = "127.0.0.1"\nport = 1\n',
    settings: `[metrics]\nport = ${String(scraped)}\n`,
  });
  t.teardown(() => daemon.stop());
  const server = await EmbeddedServer.start({
    socketPath: join(daemon.env['BMUX_RUNTIME_DIR'] ?? '', 'server.sock'),
    epoch: 4,
  });
  t.teardown(() => server.stop());
  const config = join(folder, 'prometheus.yml');
  const job = { job_name: 'bmuxd', static_configs: [{ targets: [`127.0.0.1:${String(scraped)}`] }] };
  // JSON is YAML.
  await writeFile(config, JSON.stringify({ global: { scrape_interval: '1s' }, scrape_configs: [job] }));
  const prometheus = await startChild({
    command: onPath('prometheus') ?? '',
    args: [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${String(asked)}`,
    ],
    env: { PATH: process.env['PATH'] ?? '', HOME: folder },
    ready: (output) => output.includes('Server is ready'),
    readyMs: 60_000,
  });
  t.teardown(() => prometheus.stop('SIGKILL'));
  const ask = async (expr: string): Promise<number> => {
    const query = expr.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.*');
    const url = `http://127.0.0.1:${String(asked)}/api/v1/query?query=${encodeURIComponent(query)}`;
    const answer = await fetch(url, { signal: AbortSignal.timeout(60_000) });
    const { data, error } = (await answer.json()) as { data?: { result: unknown[] }; error?: string };
    if (data === undefined) throw new Error(`${query}: ${error ?? 'no data'}`);
    return data.result.length;
  };
  await t.rejects(daemon.open({ target: 'gone' }));
  const { stream } = await daemon.open();
  t.teardown(() => stream.destroy());
  await new TestClient(stream).ping();
  await waitFor('two scrapes', async () => (await ask('rate(bmuxd_streams_lost_total[1m])')) > 0, 60_000);
  for (const { title, expr } of queries) {
    let answers = 0;
    // What a stream has counted is in the scrape after it.
    await waitFor(`${title}: ${expr}`, async () => (answers = await ask(expr)) > 0, 60_000).catch(
      () => undefined,
    );
    t.ok(answers > 0, `${title}: ${expr}`);
  }
});
