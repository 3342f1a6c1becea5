// The metrics over TCP, for a Prometheus that cannot read Unix sockets: on 127.0.0.1 only, off by default, and nothing but the metrics.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { inTime } from '../../base/async/deadline.ts';
import { textOf, type Failure } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Logger } from '../../base/log.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { IdleConnections } from '../../sockets/idle-connections.ts';
import { answerProblem, HTTP_LIMITS, onClientError, refuseLate } from '../../sockets/http-refusals.ts';
import { EXPOSITION_TYPE } from './exposition.ts';

const HOST = '127.0.0.1';
/** Connections at once. Prometheus uses one. */
const MAX_CONNECTIONS = 16;

export interface MetricsListenerOptions {
  /** Port to listen on; 0: none. */
  readonly port: () => number;
  readonly log: Logger;
}

export class MetricsListener {
  readonly #options: MetricsListenerOptions;
  #server: Server | undefined;
  #port = 0;
  #problem: Failure | undefined;
  #closed = false;
  #text: (() => Promise<string>) | undefined;

  constructor(options: MetricsListenerOptions) {
    this.#options = options;
  }

  /** Why it does not listen although it should. */
  get problem(): Failure | undefined {
    return this.#problem;
  }

  /** Listens from now on, if a port is set. `text` gives the metrics. */
  open(text: () => Promise<string>): void {
    this.#text = text;
    this.refresh();
  }

  /** Called when settings have changed. A port in use is tried again at the next call. */
  refresh(): void {
    const port = this.#options.port();
    const text = this.#text;
    if (this.#closed || text === undefined || (port === this.#port && this.#problem === undefined)) return;
    this.#end();
    this.#port = port;
    if (port !== 0) this.#listen(port, text);
  }

  close(): void {
    this.#closed = true;
    this.#end();
  }

  #end(): void {
    this.#server?.close();
    this.#server?.closeAllConnections();
    this.#server = undefined;
    this.#problem = undefined;
  }

  #listen(port: number, text: () => Promise<string>): void {
    const { log } = this.#options;
    const server = createServer(HTTP_LIMITS, (request, response) => {
      answer(request, response, text).catch((error: unknown) => {
        answerProblem(response, asFailure(error));
      });
    });
    this.#server = server;
    server.maxConnections = MAX_CONNECTIONS;
    new IdleConnections().watch(server);
    server.on('clientError', onClientError);
    refuseLate(server);
    server.on('error', (error) => {
      if (this.#server !== server) return;
      this.#problem = fail('metrics_port_unusable', { port, why: textOf(error) });
      log.warn({ code: this.#problem.code, port, err: textOf(error) }, 'no metrics over TCP');
    });
    server.listen({ host: HOST, port }, () => {
      log.info({ port }, 'metrics over TCP');
    });
  }
}

async function answer(
  { method = '', url = '' }: IncomingMessage,
  response: ServerResponse,
  text: () => Promise<string>,
): Promise<void> {
  const path = url.split('?', 1)[0] ?? '';
  if (path !== '/metrics' && path !== '/v1/metrics') {
    answerProblem(response, fail('route_unknown', { method, path: path.slice(0, 200) }));
    return;
  }
  if (method !== 'GET' && method !== 'HEAD') {
    answerProblem(response, fail('method_unknown', { method, path, allow: 'GET, HEAD' }), {
      Allow: 'GET, HEAD',
    });
    return;
  }
  const body = await inTime(text(), LIMITS.requestMs, () =>
    fail('out_of_time', { ms: LIMITS.requestMs, step: 'reading the metrics' }),
  );
  response.writeHead(200, { 'Content-Type': EXPOSITION_TYPE, 'Content-Length': Buffer.byteLength(body) });
  response.end(method === 'HEAD' ? undefined : body);
}
