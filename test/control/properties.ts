// A property of the daemon's sockets for any bytes of a client. `runs` is the number of examples, so that a soak can use more.
import fc from 'fast-check';
import { exchange } from '../daemon/raw-http.ts';

/** Pieces from which text like HTTP is made. Random bytes alone would be refused at the first byte. */
const piece = fc.oneof(
  fc.constantFrom(
    'POST /v1/streams HTTP/1.1\r\n',
    'GET /v1/health HTTP/1.1\r\n',
    'GET /v1/targets HTTP/1.1\r\n',
    'DELETE /v1/streams/x-1 HTTP/1.1\r\n',
    'CONNECT a:1 HTTP/1.1\r\n',
    'Connection: Upgrade\r\n',
    'Upgrade: bmux-stream/1\r\n',
    'Upgrade: websocket\r\n',
    'Bmux-Request: {}\r\n',
    'Bmux-Request: {"target":\r\n',
    'Content-Length: 5\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Expect: 100-continue\r\n',
    '\r\n',
    '5\r\nhello\r\n0\r\n\r\n',
  ),
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.tuple(fc.string({ maxLength: 10 }), fc.string({ maxLength: 40 })).map(([a, b]) => `${a}: ${b}\r\n`),
  fc.jsonValue({ maxDepth: 2 }).map((value) => `Bmux-Request: ${JSON.stringify(value)}\r\n`),
);

/** Whether it is an answer of the daemon: a success, or a problem with a code. */
const ANSWER = /^HTTP\/1\.1 (?:[12]\d\d |[45]\d\d [^]*"code":"[a-z_]+")/;

/**
 * Whatever is sent, the result is an answer of the daemon or nothing (when the request is not complete), and the daemon goes on.
 * No target of the daemon may be reachable, so that a request that happens to be valid is refused too.
 */
export async function anyBytesGetAnAnswer(socketPath: string, runs: number): Promise<void> {
  const bytes = fc.oneof(
    fc.array(piece, { minLength: 1, maxLength: 8 }).map((pieces) => Buffer.from(pieces.join(''), 'latin1')),
    fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array)),
  );
  await fc.assert(
    fc.asyncProperty(bytes, async (sent) => {
      const text = await exchange(socketPath, sent, { end: true, ms: 20_000 });
      if (text !== '' && !ANSWER.test(text)) throw new Error(`answered ${JSON.stringify(text)}`);
      const health = await exchange(socketPath, 'GET /v1/health HTTP/1.1\r\nConnection: close\r\n\r\n');
      if (!health.startsWith('HTTP/1.1 200 '))
        throw new Error(`no health afterwards: ${JSON.stringify(health)}`);
    }),
    { numRuns: runs },
  );
}
