// A property of the HTTP client for any behaviour of server and proxy. `runs` is the number of examples, so that a soak can use more.
import fc from 'fast-check';
import type { Socket } from 'node:net';
import { HttpClient } from '../../../daemon/target/http/client.ts';
import { certificate, letThrough, OK, peer } from './rig.ts';

/** One thing that a peer does when it has read a head. */
type Deed =
  | { readonly deed: 'write'; readonly text: string; readonly ending: 'stay' | 'end' | 'destroy' }
  | { readonly deed: 'close' | 'silence' | 'ok' | 'flood' };

const text = fc.oneof(
  fc.constantFrom(
    OK,
    'HTTP/1.1 200 OK\r\n\r\n',
    'HTTP/1.1 407 Proxy\r\nProxy-Authenticate: Basic\r\n\r\n',
    'HTTP/1.1 100 Continue\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
    'HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    'HTTP/1.0 200 OK\r\n\r\n{"target":"x"}',
    '\r\n\r\n',
  ),
  fc.string({ maxLength: 40 }),
);
const deed: fc.Arbitrary<Deed> = fc.oneof(
  fc.record({
    deed: fc.constant('write' as const),
    text,
    ending: fc.constantFrom('stay' as const, 'end' as const, 'destroy' as const),
  }),
  fc.record({ deed: fc.constantFrom('close' as const, 'silence' as const, 'ok' as const, 'flood' as const) }),
);

function doIt(socket: Socket, { deed, ...rest }: Deed): void {
  if (deed === 'close') socket.destroy();
  else if (deed === 'ok') socket.write(OK);
  else if (deed === 'flood') flood(socket);
  else if ('text' in rest) {
    socket.write(rest.text, 'latin1', () => {
      if (rest.ending === 'end') socket.end();
      if (rest.ending === 'destroy') socket.destroy();
    });
  }
}

/** An answer without an end. */
function flood(socket: Socket): void {
  const more = (): void => {
    while (!socket.destroyed && socket.write('x'.repeat(16_384)));
  };
  socket.write('HTTP/1.1 200 OK\r\n\r\n');
  socket.on('drain', more);
  more();
}

/** ms after which a request of an example is aborted. */
const PATIENCE_MS = 30;
/** Requests that one example sends with one client. */
const REQUESTS = 3;

/** Each request settles, and causes at most two attempts. After the abort nothing is open at a peer that has not answered well. */
export async function aHostilePeerGetsFewAttempts(runs: number): Promise<void> {
  const example = fc.record({
    tls: fc.boolean(),
    proxy: fc.constantFrom('none' as const, 'plain' as const, 'tls' as const),
    byProxy: fc.array(fc.oneof(deed, fc.constant('through' as const)), { minLength: 1, maxLength: 3 }),
    byServer: fc.array(deed, { minLength: 1, maxLength: 3 }),
  });
  await fc.assert(
    fc.asyncProperty(example, async ({ tls, proxy, byProxy, byServer }) => {
      let [serverTurn, proxyTurn] = [0, 0];
      const server = await peer(
        (socket) => {
          doIt(socket, byServer[serverTurn++ % byServer.length] ?? { deed: 'ok' });
        },
        { tls },
      );
      const between = await peer(
        (socket, head) => {
          const wanted = byProxy[proxyTurn++ % byProxy.length] ?? 'through';
          if (wanted !== 'through') doIt(socket, wanted);
          else if (head.startsWith('CONNECT')) letThrough(socket, head);
          else socket.write(OK);
        },
        { tls: proxy === 'tls' },
      );
      const proxyUrl = `${proxy === 'tls' ? 'https' : 'http'}://127.0.0.1:${String(between.port)}`;
      const client = new HttpClient({
        env: proxy === 'none' ? {} : { ALL_PROXY: proxyUrl },
        verified: (_host, connect) => connect({ ca: certificate.certPem }),
      });
      try {
        for (let i = 0; i < REQUESTS; i += 1) {
          const before = server.heads.length + between.heads.length;
          const abort = new AbortController();
          const timer = setTimeout(() => abort.abort(new Error('late')), PATIENCE_MS);
          const url = new URL(`${tls ? 'https' : 'http'}://127.0.0.1:${String(server.port)}/`);
          await client
            .get(url, {}, abort.signal)
            .then((answer) => answer.text(1000))
            .catch(() => undefined);
          clearTimeout(timer);
          abort.abort();
          // Two attempts, each a CONNECT and a GET at most.
          const sent = server.heads.length + between.heads.length - before;
          if (sent > 4) throw new Error(`${String(sent)} heads for one request`);
        }
        client.close();
        const deadline = performance.now() + 20_000;
        while (server.connections.size + between.connections.size > 0) {
          if (performance.now() > deadline) throw new Error('connections stay open after the abort');
          await new Promise((resolve) => setTimeout(resolve, 2));
        }
      } finally {
        client.close();
        await Promise.all([server.close(), between.close()]);
      }
    }),
    { numRuns: runs },
  );
}
