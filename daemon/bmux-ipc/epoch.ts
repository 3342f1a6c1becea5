// Two properties of a server that a client must know before it sends a byte: the wire epoch, and compression of the transport.

/** The wire epoch: which generation of the protocol a server speaks. */
export type Epoch = 3 | 4;

/** Whether the bytes of a stream are sent in compressed blocks. */
export type Compression = 'zstd' | 'none';

/** The epoch that a server of this version speaks, if known (docs/bmux-protocol.md, "Epochs"). */
export function epochOf(version: string | undefined): Epoch | undefined {
  const alpha = /^0\.0\.1-alpha\.(\d+)$/.exec(version ?? '')?.[1];
  if (alpha === undefined) return undefined;
  // The epoch of alpha.1 to alpha.3 is unknown.
  if (alpha === '0') return 3;
  return Number(alpha) >= 4 ? 4 : undefined;
}
