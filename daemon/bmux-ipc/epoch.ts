// The two ways in which servers differ before the first byte: the wire epoch, and whether the transport is compressed.

/** The wire epoch: which generation of the protocol a server speaks. */
export type Epoch = 3 | 4;

/** Whether the bytes of a stream travel in compressed blocks. */
export type Compression = 'zstd' | 'none';
