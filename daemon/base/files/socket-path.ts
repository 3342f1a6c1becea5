// The length of a Unix socket's path. The system, or Node, cuts a longer one without an error, and another socket is reached.

/** Longest path of a Unix socket, bytes: `sun_path` without its NUL. */
export function maxSocketPath(platform: NodeJS.Platform = process.platform): number {
  return platform === 'linux' ? 107 : 103;
}

/** The values of `socket_path_too_long` for a path that is too long; undefined for any other. */
export function excessOf(path: string): { path: string; length: number; limit: number } | undefined {
  const [length, limit] = [Buffer.byteLength(path), maxSocketPath()];
  return length > limit ? { path, length, limit } : undefined;
}
