// JSON that survives an HTTP header: Node sends Latin-1 and throws on the rest, so everything outside ASCII is escaped.

/** `value` as JSON in printable ASCII: every other UTF-16 unit (and DEL) as `\uXXXX`. What JSON cannot hold becomes `null`. */
export function asciiJson(value: unknown): string {
  const json: string | undefined = JSON.stringify(value);
  return (json ?? 'null').replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
