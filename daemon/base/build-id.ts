// Build ids: a build is identified by size and modification time of its executable (docs/bmux-protocol.md, "Build ids").

/**
 * `{size in bytes}-{mtime in whole ms since 1970}`, 0 ms for a time before 1970.
 * Takes a bigint stat, because the float of `mtimeMs` is off by 1 ms for some times.
 */
export function buildIdFrom({ size, mtimeNs }: { readonly size: bigint; readonly mtimeNs: bigint }): string {
  const ms = mtimeNs < 0n ? 0n : mtimeNs / 1_000_000n;
  return `${String(size)}-${String(ms)}`;
}
