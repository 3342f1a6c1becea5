// The only file that uses @number0/iroh: loads it, and converts its byte arrays and errors. Its documentation is short. So
// test/transport/iroh/iroh.test.ts checks the behaviour that is needed here against a real gateway.
import { createRequire } from 'node:module';
import type * as Binding from '@number0/iroh/index.js';
import { causeTexts, textOf, type Failure } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';

export type RawEndpoint = Binding.Endpoint;
export type RawConnection = Binding.Connection;
export type RawSend = Binding.SendStream;
export type RawReceive = Binding.RecvStream;

/** Which relays an endpoint may use: the public ones, none, or these. */
export type Relays = 'default' | 'disabled' | readonly string[];

/** Largest piece of one read or write, bytes. A piece is converted synchronously, and a larger one would block the event loop too long. */
export const PIECE = 16_384;

/** The protocol of a bmux gateway (docs/bmux-protocol.md, "iroh"). */
const ALPN = 'bmux/gateway/iroh/1';

// Loaded at once, because an upgrade of the package removes its files while an engine runs. The package's `main` names a missing folder;
// requiring that warns DEP0128.
const loaded = load();

function load(): { readonly iroh: typeof Binding } | { readonly problem: Failure } {
  try {
    return { iroh: createRequire(import.meta.filename)('@number0/iroh/index.js') as typeof Binding };
  } catch (error) {
    return { problem: fail('iroh_unavailable', { why: whyNotLoaded(error) }) };
  }
}

/** The package tries several files. Its own message is about a bug of npm, and its causes say what the system said. */
function whyNotLoaded(error: unknown): string {
  const text = causeTexts(error).find(
    (one) => one.includes(`${process.platform}-${process.arch}`) && one.includes('.node'),
  );
  return text ?? textOf(error);
}

/** Why no iroh host can be reached; undefined when the package has been loaded. */
export const irohProblem: Failure | undefined = 'problem' in loaded ? loaded.problem : undefined;

function irohPackage(): typeof Binding {
  if ('problem' in loaded) throw loaded.problem;
  return loaded.iroh;
}

/** Binds an endpoint. With `accept` it also accepts the gateway protocol, as a peer in tests. */
export async function bindRaw(
  relays: Relays,
  options: { readonly accept?: boolean; readonly bindAddr?: string } = {},
): Promise<RawEndpoint> {
  const iroh = irohPackage();
  const builder = iroh.Endpoint.builder();
  if (relays === 'disabled') iroh.presetN0DisableRelay(builder);
  else iroh.presetN0(builder);
  if (typeof relays === 'object') builder.relayMode(iroh.RelayMode.customFromUrls([...relays]));
  if (options.accept === true) builder.alpns([numbers(ALPN)]);
  if (options.bindAddr !== undefined) builder.bindAddr(options.bindAddr);
  return builder.bind();
}

/** Parses an endpoint id (hex or base32) to its usual form; throws when invalid. */
export function normalEndpointId(id: string): string {
  return irohPackage().EndpointId.fromString(id).toString();
}

/** Throws when `url` is no relay URL. The address would accept it, and connecting would fail without a reason. */
export function checkRelayUrl(url: string): void {
  irohPackage().RelayMode.customFromUrls([url]);
}

/** Dials a gateway. This can take 30 s, so callers set a time limit. */
export function connectRaw(
  endpoint: RawEndpoint,
  to: { readonly id: string; readonly relayUrl?: string | undefined; readonly ipAddr?: string | undefined },
): Promise<RawConnection> {
  const iroh = irohPackage();
  const id = iroh.EndpointId.fromString(to.id);
  const address = new iroh.EndpointAddr(id, to.relayUrl ?? null, to.ipAddr === undefined ? [] : [to.ipAddr]);
  return endpoint.connect(address, numbers(ALPN));
}

/** Closes a connection with code 0; never throws. Each unfinished stream on it costs the peer's server one connection. */
export function closeRaw(connection: RawConnection): void {
  try {
    connection.close(0n, []);
  } catch {
    // It was closed already.
  }
}

/**
 * A gateway opens no streams. Each one that a peer opens could fill a window that nobody reads, so it is stopped, and it gets no further one
 * for it. Datagrams need nothing: the binding keeps a bounded number, the latest.
 */
export function refuseStreams(connection: RawConnection): void {
  connection.setMaxConcurrentBiStreams(0n);
  connection.setMaxConcurrentUniStreams(0n);
  const stopAll = async (next: () => Promise<() => Promise<unknown>>): Promise<void> => {
    // Ends with the connection, which rejects. A stream that is over cannot be stopped.
    for (;;) (await next())().catch(ignore);
  };
  stopAll(async () => {
    const receive = await connection.acceptUni();
    return () => receive.stop(0n);
  }).catch(ignore);
  stopAll(async () => {
    const { send, recv } = await connection.acceptBi();
    return () => Promise.all([recv.stop(0n), send.reset(0n)]);
  }).catch(ignore);
}

function ignore(): void {
  // The connection or the stream is closed.
}

function numbers(text: string): number[] {
  return [...Buffer.from(text)];
}

/**
 * Converts buffers to the array of numbers that the binding takes. All writes of a connection share one array, because the binding copies it
 * before its call returns. A new array for each write costs thirty times as much.
 */
export class ByteArrays {
  readonly #array: number[] = [];

  /** Starts writing `bytes`, at most PIECE of them. */
  write(send: Pick<RawSend, 'writeAll'>, bytes: Uint8Array): Promise<void> {
    const array = this.#array;
    const length = bytes.length;
    array.length = length;
    for (let i = 0; i < length; i++) array[i] = bytes[i] ?? 0;
    return send.writeAll(array);
  }
}

/** Reads at most PIECE bytes; undefined at the end of the stream. */
export async function readRaw(receive: Pick<RawReceive, 'read'>): Promise<Buffer | undefined> {
  const bytes: ArrayLike<number> = await receive.read(PIECE);
  const length = bytes.length;
  if (length === 0) return undefined;
  if (bytes instanceof Uint8Array) return Buffer.from(bytes.buffer, bytes.byteOffset, length);
  const buffer = Buffer.allocUnsafe(length);
  // A plain loop, because Buffer.from(array) is fifteen times slower here.
  for (let i = 0; i < length; i++) buffer[i] = bytes[i] ?? 0;
  return buffer;
}

/** What `ConnectionLost(WHY)` means, as the binding says it of a stream. */
const LOST: Readonly<Record<string, string>> = {
  TimedOut: 'the host does not answer',
  Reset: 'the host does not know the connection any more',
  ApplicationClosed: 'the host has closed the connection',
  ConnectionClosed: 'the host has closed the connection',
};

/** What the binding says when the host at an address has another key than that of the endpoint id. */
const OTHER_HOST = /invalid peer certificate: UnknownIssuer$/;

/** A text that is repeated at once: what each of several servers of names has answered. */
const REPEATED = /(.{12,}?)\1+/g;

/**
 * Converts an error of the binding for people. Its message has several lines: a type with a source path, a chain of causes, a backtrace. The
 * innermost cause says what happened (`timed out`). The code marks the error as a lost connection, as on a socket.
 */
export function irohError(error: unknown): Error {
  const text = error instanceof Error ? error.message : String(error);
  const lines = (text.split(/\n\s*Stack backtrace:/, 1)[0] ?? '')
    .split('\n')
    .map((line) =>
      line
        .replace(/\s*\([^()]*:\d+:\d+\)\s*$/, '')
        .replace(/^\s*\d+:\s*/, '')
        .trim(),
    )
    .filter((line) => line !== '' && line !== 'Caused by:');
  const said = (lines.at(-1) ?? 'unknown error').replace(REPEATED, '$1');
  const lost = LOST[/^ConnectionLost\((\w+)/.exec(said)?.[1] ?? ''];
  const other = OTHER_HOST.test(said) ? 'a host with another endpoint id answers at the address' : undefined;
  return Object.assign(new Error(lost ?? other ?? said), { code: 'ECONNRESET' });
}
