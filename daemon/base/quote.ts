// Quotes a name as the texts of bmux do: it prints slot names with Rust's {:?} (docs/bmux-protocol.md, "Error texts").

const SHORT: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\0': '\\0',
};

/** `text` in double quotes, escaped as Rust's `{:?}` does: short escapes, and `\u{hex}` for control and format characters. */
export function quoted(text: string): string {
  const inner = text.replace(
    /["\\\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}]|\p{Zs}/gu,
    (c) => SHORT[c] ?? (c === ' ' ? c : `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`),
  );
  return `"${inner}"`;
}
