// What is needed of a zstd, whichever one it is.

export interface Zstd {
  /** Compresses `plain` into `target`, which has room for it. Returns how many bytes it wrote. */
  compress(target: Uint8Array, plain: Uint8Array): number;
  /** Decompresses the frame `compressed` into `target`. Returns how many bytes it wrote. Throws when they do not fit. */
  decompress(target: Uint8Array, compressed: Uint8Array): number;
  /** Bytes of the content as the frame says it; null when it does not. Throws for what is no frame. */
  contentSize(compressed: Uint8Array): number | null;
  /** A context that decompresses in pieces. Missing: each block is decompressed whole. */
  makePieces?(): Pieces;
}

export interface Pieces {
  /** Fills `target` from `compressed`. `left` is 0 at the end of the frame. Throws for what is no frame. */
  step(
    target: Uint8Array,
    compressed: Uint8Array,
  ): { readonly left: number; readonly produced: number; readonly consumed: number };
  /** Makes the context ready for another frame. */
  reset(): void;
}
