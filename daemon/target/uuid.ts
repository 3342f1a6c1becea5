// UUIDs as lenient as Rust's `uuid::Uuid::parse_str` reads them.

const HYPHENATED = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';
const FORMS = new RegExp(`^(?:[0-9a-f]{32}|${HYPHENATED}|\\{${HYPHENATED}\\}|urn:uuid:${HYPHENATED})$`, 'i');

/** `text` as a hyphenated lower-case UUID: from that form, 32 hex digits, `{…}` or `urn:uuid:…`; undefined otherwise. */
export function parseUuid(text: string): string | undefined {
  // The digits of any case, the prefix of one only.
  if (!FORMS.test(text) || /^urn/i.test(text) !== text.startsWith('urn:uuid:')) return undefined;
  const digits = text.replace(/^urn:uuid:|[{}-]/g, '').toLowerCase();
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
