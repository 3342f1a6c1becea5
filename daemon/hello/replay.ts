// Which bytes of a client may be sent a second time: whole frames of requests that change nothing (docs/decisions/optimistic-hello.md).
import { FrameReader } from '../bmux-ipc/frame.ts';
import { decodeEnvelope, decodeRequest } from '../bmux-ipc/ipc.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';
import type { SshEnd } from '../transport/ssh/failures.ts';

/** See `SshEnd`. */
export type Undelivered = SshEnd['undelivered'];

/** Requests that may be sent twice. */
const HARMLESS: ReadonlySet<string> = new Set(['ping', 'whoami', 'server_status']);

/** Bytes that are kept for a replay. A harmless request takes tens of bytes. */
export const MAX_REPLAY_BYTES = 4096;

/** Records what was forwarded, up to MAX_REPLAY_BYTES. */
export class ReplayLog {
  #bytes: Buffer | undefined = Buffer.alloc(0);

  /** Copies the chunks: a small chunk may be a view of a large buffer, which must not be kept in memory for it. */
  add(chunks: readonly Uint8Array[]): void {
    if (this.#bytes === undefined) return;
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, this.#bytes.length);
    this.#bytes = length > MAX_REPLAY_BYTES ? undefined : Buffer.concat([this.#bytes, ...chunks], length);
  }

  /** The ids of the requests in what was added, as far as it is known and whole. */
  requests(epoch: Epoch): bigint[] {
    const reader = new FrameReader();
    const ids: bigint[] = [];
    try {
      reader.push(this.#bytes ?? Buffer.alloc(0));
      for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
        const { version, kind, requestId } = decodeEnvelope(frame);
        if (version === epoch && kind === 'request') ids.push(requestId);
      }
    } catch {
      // What follows is not bmux's protocol.
    }
    return ids;
  }

  /** Everything that was added, if it may be sent again. */
  harmless(epoch: Epoch, undelivered?: Undelivered): Buffer | undefined {
    const bytes = this.#bytes;
    return bytes !== undefined && mayReplay(epoch, bytes, undelivered) ? bytes : undefined;
  }
}

/**
 * True when `bytes` may be sent again: whole frames of harmless requests in `epoch`. Of what was not delivered, no request was carried out: a
 * server does nothing before the last byte of a frame.
 */
export function mayReplay(epoch: Epoch, bytes: Uint8Array, undelivered?: Undelivered): boolean {
  if (undelivered === 'all') return true;
  const reader = new FrameReader();
  const frames: Uint8Array[] = [];
  try {
    reader.push(bytes);
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) frames.push(frame);
    const isWhole = reader.rest().length === 0;
    if (undelivered === undefined) return isWhole && frames.every((frame) => isHarmless(epoch, frame));
    const delivered = isWhole ? frames.slice(0, -1) : frames;
    return delivered.every((frame) => isHarmless(epoch, frame));
  } catch {
    return false;
  }
}

function isHarmless(epoch: Epoch, frame: Uint8Array): boolean {
  const { version, kind, payload } = decodeEnvelope(frame);
  return version === epoch && kind === 'request' && HARMLESS.has(decodeRequest(epoch, payload).type);
}
