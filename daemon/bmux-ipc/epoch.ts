// Two properties of a server that a client must know before it sends a byte: the wire epoch, and compression of the transport.

/** The wire epoch: which generation of the protocol a server speaks. */
export type Epoch = 3 | 4;

/** Whether the bytes of a stream are sent in compressed blocks. */
export type Compression = 'zstd' | 'none';
