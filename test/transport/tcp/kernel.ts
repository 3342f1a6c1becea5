// What the kernel says of a TCP connection of this process. Linux only.
import type { Socket } from 'node:net';
import { cLibrary } from '../../../daemon/base/c-library.ts';
import { descriptorOf } from '../../../daemon/base/node-internals.ts';

/** The numbers of linux/tcp.h. */
const [IPPROTO_TCP, TCP_INFO] = [6, 11];
export const [TCP_QUICKACK, TCP_RTO_MAX_MS] = [12, 44];
/** Place in `struct tcp_info` of the number of times that the pause was doubled. */
const BACKOFF = 4;

/** A number, or undefined when the kernel does not know the option. */
export function optionOf(socket: Socket, name: number): number | undefined {
  return bytesOf(socket, name, 4)?.readInt32LE(0);
}

export function setOption(socket: Socket, name: number, value: number): void {
  const set = cLibrary().func(
    'int setsockopt(int fd, int level, int name, const int *value, uint32_t length)',
  );
  if (set(descriptorOf(socket), IPPROTO_TCP, name, [value], 4) !== 0)
    throw new Error(`option ${String(name)} was not set`);
}

/** How often the pause was doubled after which the kernel sends, or asks, again. */
export function backoffOf(socket: Socket): number {
  return bytesOf(socket, TCP_INFO, 64)?.[BACKOFF] ?? 0;
}

function bytesOf(socket: Socket, name: number, length: number): Buffer | undefined {
  const get = cLibrary().func(
    'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
  );
  const value = Buffer.alloc(length);
  return get(descriptorOf(socket), IPPROTO_TCP, name, value, [length]) === 0 ? value : undefined;
}
