// Parses the head of the daemon's HTTP answers.

/** An HTTP answer with a complete head. */
export interface AnswerHead {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes received after the head. */
  readonly rest: Buffer;
  /** True when `rest` holds the whole body. */
  readonly complete: boolean;
}

/** The answer at the start of `bytes`; undefined while its head is incomplete. */
export function readAnswer(bytes: Buffer): AnswerHead | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(first)?.[1] ?? 0);
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon > 0) headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const rest = bytes.subarray(end + 4);
  return { status, headers, rest, complete: rest.length >= Number(headers['content-length'] ?? 0) };
}
