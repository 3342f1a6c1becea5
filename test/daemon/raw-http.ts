// HTTP by hand over a Unix socket, so that a test may send what no client library would.
import { connect, type Socket } from 'node:net';
import { switching } from '../../daemon/sockets/http-answer.ts';

/** The last answer on a connection. */
export interface RawAnswer {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Sends `bytes` and reads until the peer ends or `ms` have passed; everything that came, as Latin-1. An error is an end. */
export function exchange(
  socketPath: string,
  bytes: string | Uint8Array,
  { end = false, ms = 60_000 }: { readonly end?: boolean; readonly ms?: number } = {},
): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect({ path: socketPath, allowHalfOpen: true });
    const done = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(text);
    };
    const timer = setTimeout(done, ms);
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('end', done).on('error', done);
    socket.write(bytes);
    if (end) socket.end();
  });
}

/** The first answer in `text`; status 0 when there is none. */
export function answerIn(text: string): RawAnswer {
  const end = text.indexOf('\r\n\r\n');
  const [first = '', ...lines] = text.slice(0, Math.max(0, end)).split('\r\n');
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0);
  return { status, headers, body: end < 0 ? '' : text.slice(end + 4) };
}

/** The text of an upgrade to a stream. */
export function upgradeText(request: string, extra: readonly string[] = []): string {
  return [
    'POST /v1/streams HTTP/1.1',
    'Connection: Upgrade',
    'Upgrade: bmux-stream/1',
    `Bmux-Request: ${request}`,
    ...extra,
    '',
    '',
  ].join('\r\n');
}

/** Sends an upgrade with `first` right behind it; resolves with the head of the answer, and the socket as the stream after it. */
export function upgrade(
  socketPath: string,
  request: string,
  first: Uint8Array = new Uint8Array(),
): Promise<{ readonly answer: RawAnswer; readonly socket: Socket }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: socketPath, allowHalfOpen: true });
    let bytes: Buffer = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      bytes = Buffer.concat([bytes, chunk]);
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) return;
      socket.off('data', onData).off('error', reject);
      socket.pause();
      socket.unshift(bytes.subarray(end + 4));
      resolve({ answer: answerIn(bytes.toString('latin1', 0, end + 4)), socket });
    };
    socket.on('data', onData).on('error', reject);
    socket.write(Buffer.concat([Buffer.from(upgradeText(request), 'latin1'), first]));
  });
}

/** The head of a 101 as a daemon of this version writes it. */
export function granted(id: string): string {
  return switching({
    id,
    target: 'local',
    transport: 'local',
    epoch: 4,
    negotiated: { revision: 1, capabilities: [] },
    warm: false,
    warnings: [],
  });
}
