// Headers of the sockets, and JSON for them: Node sends Latin-1 and throws for other characters, so everything outside ASCII is escaped.

/** The version of the daemon, in every answer of the control socket but events. */
export const VERSION_HEADER = 'bmuxd-version';

/** `value` as JSON in printable ASCII; other UTF-16 units and DEL become `\uXXXX`. A value that JSON cannot represent becomes `null`. */
export function asciiJson(value: unknown): string {
  const json: string | undefined = JSON.stringify(value);
  return (json ?? 'null').replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
