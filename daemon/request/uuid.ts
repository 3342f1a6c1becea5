// Parses UUIDs as leniently as Rust's `uuid::Uuid::parse_str`.

const HYPHENATED = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';
const FORMS = new RegExp(`^(?:[0-9a-f]{32}|${HYPHENATED}|\\{${HYPHENATED}\\}|urn:uuid:${HYPHENATED})$`, 'i');

/** Returns `text` as a hyphenated lower-case UUID; undefined when invalid. It may be in that form, 32 hex digits, `{…}` or `urn:uuid:…`. */
export function parseUuid(text: string): string | undefined {
  // Hex digits may be in either case, the prefix in lower case only.
  if (!FORMS.test(text) || /^urn/i.test(text) !== text.startsWith('urn:uuid:')) return undefined;
  const digits = text.replace(/^urn:uuid:|[{}-]/g, '').toLowerCase();
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
