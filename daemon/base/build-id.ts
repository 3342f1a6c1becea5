// How a build is told by its executable file: size and time of change (docs/bmux-protocol.md, "Build ids").

/**
 * `{size in bytes}-{mtime in whole ms since the epoch}`, 0 ms where the time is before the epoch.
 * From a bigint stat: the float of `mtimeMs` is off by one for some times.
 */
export function buildIdFrom({ size, mtimeNs }: { readonly size: bigint; readonly mtimeNs: bigint }): string {
  const ms = mtimeNs < 0n ? 0n : mtimeNs / 1_000_000n;
  return `${String(size)}-${String(ms)}`;
}
