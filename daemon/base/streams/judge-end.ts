// Decides at the end of a stream whether it is a proper one. An end without proof becomes an error.
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { readAgain } from '../node-internals.ts';

/** The error that the reader gets instead of the end; undefined when the end is proper. */
export type Unproven = Error | undefined;

/**
 * Holds the end of `stream` back until `judgement` has decided, and then tells the end or the error. The reader has taken all data by then.
 * Returns a function that starts the decision without an end from the stream, for example after an error of a read; it returns false when the
 * decision has been told already. `judgement` is called at most once.
 */
export function judgeEnd(stream: Duplex, judgement: () => Unproven | Promise<Unproven>): () => boolean {
  const push = stream.push.bind(stream);
  let judged = false;
  let told = false;
  const tell = (error: Unproven): void => {
    told = true;
    if (stream.destroyed) return;
    if (error === undefined) push(null);
    else failAfterData(stream, error);
  };
  const judge = (): boolean => {
    if (judged) return !told;
    judged = true;
    const decided = judgement();
    if (decided instanceof Promise) decided.then(tell, tell);
    else tell(decided);
    return true;
  };
  stream.push = (chunk, encoding) => {
    if (chunk !== null) return push(chunk, encoding);
    judge();
    return false;
  };
  return judge;
}

/** Destroys `stream` with `error` when its reader has taken what has arrived: Node drops the buffer of a destroyed stream. */
function failAfterData(stream: Duplex, error: Error): void {
  if (stream.readableLength === 0) {
    stream.destroy(error);
    return;
  }
  const read = stream.read.bind(stream);
  stream.read = (size) => {
    const chunk: unknown = read(size);
    if (stream.readableLength === 0) process.nextTick(() => stream.destroy(error));
    return chunk;
  };
}

/**
 * Reads once more when a Unix socket ends. When a reset comes together with data, libuv reports an end without reading, and the kernel keeps
 * the error for the next read.
 */
export function confirmEnd(socket: Socket): void {
  const push = socket.push.bind(socket);
  let again = false;
  socket.push = (chunk, encoding) => {
    if (chunk !== null || again || !readAgain(socket)) return push(chunk, encoding);
    again = true;
    return false;
  };
}
