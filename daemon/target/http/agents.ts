// The agents of HTTP requests: they keep TLS connections that were verified, or mend the answers of plain and TLS connections.
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Duplex } from 'node:stream';
import { MendedConnection } from './mended.ts';

/** ms that an unused connection is kept; reqwest has the same limit. */
const IDLE_MS = 90_000;
/** Unused connections that are kept for one server. */
const MAX_IDLE = 4;

interface AgentOptions {
  /** TLS is spoken with the first hop. Requests bring an option `open` then, which makes the connection. */
  readonly isTls: boolean;
  /** Connections are used for one request. */
  readonly once: boolean;
  /** Answers are mended. */
  readonly lenient: boolean;
}

export function newAgent({ isTls, once, lenient }: AgentOptions): HttpAgent {
  const options = { keepAlive: !once, maxFreeSockets: MAX_IDLE, timeout: IDLE_MS };
  if (isTls) return new VerifyingAgent(options, lenient);
  return lenient ? new MendingAgent(options) : new HttpAgent(options);
}

/** Keeps TLS connections to servers, in tunnels through a proxy as well, and to proxies. */
class VerifyingAgent extends HttpsAgent {
  readonly #lenient: boolean;

  constructor(options: ConstructorParameters<typeof HttpsAgent>[0], lenient: boolean) {
    // A resumed session skips the check of the server's name, so no session is kept.
    super({ ...options, maxCachedSessions: 0 });
    this.#lenient = lenient;
  }

  override createConnection(
    options: Parameters<HttpsAgent['createConnection']>[0] & { readonly open?: () => Promise<Duplex> },
    settle?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    if (options.open === undefined || settle === undefined)
      throw new Error('a connection needs what opens it');
    // Node takes no stream where there is an error, which its type does not know.
    const failed = settle as (error: Error) => void;
    options.open().then(
      (stream) => settle(null, this.#lenient ? new MendedConnection(stream) : stream),
      (error: unknown) => failed(error instanceof Error ? error : new Error(String(error))),
    );
  }
}

class MendingAgent extends HttpAgent {
  override createConnection(
    options: Parameters<HttpAgent['createConnection']>[0],
  ): Duplex | null | undefined {
    const stream = super.createConnection(options);
    return stream instanceof Object ? new MendedConnection(stream) : stream;
  }
}
