// Which forwarded bytes may be sent a second time: whole frames of requests that change nothing (docs/decisions/optimistic-hello.md).
import { FrameReader } from '../bmux-ipc/frame.ts';
import { decodeEnvelope, decodeRequest } from '../bmux-ipc/ipc.ts';
import type { Epoch } from '../bmux-ipc/epoch.ts';

/** Requests that may be sent twice. */
const HARMLESS: ReadonlySet<string> = new Set(['ping', 'whoami', 'server_status']);

/** Bytes kept for a replay; a handful of harmless requests takes tens of bytes each. */
export const MAX_REPLAY_BYTES = 4096;

/** What has been forwarded, as long as it is little. */
export class ReplayLog {
  #bytes: Buffer | undefined = Buffer.alloc(0);

  /** Copies: a small chunk may be a view of a large buffer, which must not be kept for it. */
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

/** True when `bytes` are whole frames of requests that only look. */
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
