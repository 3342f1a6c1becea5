// Which bytes of a client may be sent a second time: whole frames of requests that change nothing (docs/decisions/optimistic-hello.md).
import { FrameReader } from '../bmux-ipc/frame.ts';
import { decodeEnvelope, decodeRequest } from '../bmux-ipc/ipc.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';

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

  /** Everything that was added, if it may be sent again. */
  harmless(epoch: Epoch): Buffer | undefined {
    return this.#bytes !== undefined && mayReplay(epoch, this.#bytes) ? this.#bytes : undefined;
  }
}

/** True when `bytes` are whole frames of harmless requests in `epoch`. */
export function mayReplay(epoch: Epoch, bytes: Uint8Array): boolean {
  const reader = new FrameReader();
  try {
    reader.push(bytes);
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
      const envelope = decodeEnvelope(frame);
      if (envelope.version !== epoch || envelope.kind !== 'request') return false;
      if (!HARMLESS.has(decodeRequest(epoch, envelope.payload).type)) return false;
    }
    return reader.rest().length === 0;
  } catch {
    return false;
  }
}
