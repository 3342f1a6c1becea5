// Reads and writes the few parts of DER that anchors need: docs/bmux-protocol.md, "Certificates".

/** One element of DER: its tag, and where it starts, where its content starts, and where it ends. */
export interface Element {
  readonly tag: number;
  readonly start: number;
  readonly body: number;
  readonly end: number;
}

export const TAGS = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  sequence: 0x30,
} as const;

/** Reads the element at `at`, which must end at or before `limit`. Throws on anything else. */
export function elementAt(bytes: Buffer, at: number, limit: number): Element {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined || at + 2 > limit) throw new Error('DER ends too early');
  let length = first;
  let body = at + 2;
  if (first > 0x7f) {
    const count = first & 0x7f;
    if (count === 0 || count > 4 || body + count > limit) throw new Error('DER length is not valid');
    length = bytes.readUIntBE(body, count);
    body += count;
  }
  if (body + length > limit) throw new Error('DER ends too early');
  return { tag, start: at, body, end: body + length };
}

/** The only element of `bytes`. Throws when bytes follow it, or its tag is another. */
export function wholeElement(bytes: Buffer, tag: number): Element {
  const found = elementAt(bytes, 0, bytes.length);
  if (found.tag !== tag || found.end !== bytes.length) throw new Error('DER is not one whole element');
  return found;
}

/** The elements in `parent`. */
export function childrenOf(bytes: Buffer, parent: Element): Element[] {
  const found: Element[] = [];
  for (let at = parent.body; at < parent.end;) {
    const child = elementAt(bytes, at, parent.end);
    found.push(child);
    at = child.end;
  }
  return found;
}

/** The bytes of an element with its tag and length. */
export function rawOf(bytes: Buffer, { start, end }: Element): Buffer {
  return bytes.subarray(start, end);
}

/** The content of an element. */
export function contentOf(bytes: Buffer, { body, end }: Element): Buffer {
  return bytes.subarray(body, end);
}

/** Encodes one element. */
export function encoded(tag: number, ...contents: readonly Buffer[]): Buffer {
  const body = Buffer.concat(contents);
  if (body.length < 0x80) return Buffer.concat([Buffer.from([tag, body.length]), body]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  const short = length.subarray(length.findIndex((byte) => byte !== 0));
  return Buffer.concat([Buffer.from([tag, 0x80 | short.length]), short, body]);
}
