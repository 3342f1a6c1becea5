// Reads PEM as bmux does (docs/bmux-protocol.md, "Certificates").

/** A section with its content (empty where the label is none that bmux decodes), or why it has none. */
export type Section =
  | { readonly label: string; readonly der: Buffer }
  | { readonly label: string; readonly problem: string };

/** The labels whose content bmux decodes. A section with another label is skipped, whatever it holds. */
const DECODED: ReadonlySet<string> = new Set([
  'CERTIFICATE',
  'CERTIFICATE REQUEST',
  'EC PRIVATE KEY',
  'ECHCONFIG',
  'PRIVATE KEY',
  'PUBLIC KEY',
  'RSA PRIVATE KEY',
  'X509 CRL',
]);
const NOTHING = Buffer.alloc(0);

const BEGIN = '-----BEGIN ';
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** Bytes of a piece: reading one takes about a millisecond. */
const PIECE = 256 * 1024;

/** A file in pieces that end with a line. One character is one byte (latin1): a file with other text around its sections need not be UTF-8. */
export function* piecesOf(bytes: Buffer): Generator<string, void> {
  for (let at = 0; at < bytes.length;) {
    const last = bytes.subarray(at, at + PIECE).lastIndexOf(0x0a) + at;
    const next = last > at || bytes.length - at <= PIECE ? last : bytes.indexOf(0x0a, at + PIECE);
    const end = bytes.length - at <= PIECE || next < 0 ? bytes.length : next + 1;
    yield bytes.toString('latin1', at, end);
    at = end;
  }
}

/** The sections of a text, one at a time, since a large text takes long; undefined between two pieces of the text. */
export function* pemSections(pieces: string | Iterable<string>): Generator<Section | undefined, void> {
  let open: { readonly label: string; readonly body: string[] } | undefined;
  let isFirst = true;
  for (const text of typeof pieces === 'string' ? [pieces] : pieces) {
    if (!isFirst) yield undefined;
    isFirst = false;
    for (let at = 0; at < text.length;) {
      const end = lineEnd(text, at);
      const line = text.slice(at, end);
      at = end + 1;
      if (line.startsWith(BEGIN)) {
        // Two BEGIN lines without anything between them are one.
        if (open !== undefined && open.body.length > 0)
          yield { label: open.label, problem: `the section ${open.label} has no end` };
        open = undefined;
        const label = /^-----BEGIN (.*[^-]|)-----[ ]*$/s.exec(line)?.[1];
        if (label === undefined) yield { label: '', problem: 'a BEGIN line is not valid' };
        else open = { label, body: [] };
      } else if (open === undefined) {
        // Text between sections may be long.
        const next = text.indexOf(BEGIN, at);
        if (next < 0) break;
        at = Math.max(at, lineStart(text, next));
      } else if (line.startsWith(`-----END ${open.label}-----`)) {
        yield section(open.label, open.body.join('').replace(/[ \t\v\f]/g, ''));
        open = undefined;
      } else if (/[^ \t\f]/.test(line)) {
        open.body.push(line);
      }
    }
  }
  if (open !== undefined) yield { label: open.label, problem: `the section ${open.label} has no end` };
}

function section(label: string, body: string): Section {
  if (!DECODED.has(label)) return { label, der: NOTHING };
  // The end may be padded or not, but not in part.
  const digits = body.replace(/=+$/, '').length;
  const isPadded = digits === body.length || body.length % 4 === 0;
  if (!BASE64.test(body) || digits % 4 === 1 || !isPadded)
    return { label, problem: `the section ${label} is not valid base64` };
  return { label, der: Buffer.from(body, 'base64') };
}

function lineEnd(text: string, at: number): number {
  for (let end = at; ; end += 1) {
    const code = text.charCodeAt(end);
    if (code === 0x0a || code === 0x0d || Number.isNaN(code)) return end;
  }
}

function lineStart(text: string, at: number): number {
  return Math.max(text.lastIndexOf('\n', at), text.lastIndexOf('\r', at)) + 1;
}

/** One certificate as PEM. */
export function pemOf(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}
