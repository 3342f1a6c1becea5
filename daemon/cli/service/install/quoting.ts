// Writes paths and values so that a unit of systemd or a property list takes them literally: systemd.syntax(7), systemd.service(5), XML 1.0.

const PLAIN = /^[\w@+=:,./-]+$/;

/** A value in quotes, where those are needed. A line feed would end the line. */
function quoted(value: string): string {
  if (PLAIN.test(value)) return value;
  return `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}

/** A path as the value of a setting that takes the rest of its line. */
export function unitPath(path: string): string {
  return path.replaceAll('%', '%%');
}

/** A command line for ExecStart=. systemd replaces `$` in arguments, but not in the program. */
export function unitCommand([program, ...args]: readonly [string, ...string[]]): string {
  const shown = [program, ...args.map((arg) => arg.replaceAll('$', '$$$$'))];
  return shown.map((word) => unitPath(quoted(word))).join(' ');
}

/** An assignment for Environment=. */
export function unitVariable(name: string, value: string): string {
  return unitPath(quoted(`${name}=${value}`));
}

export function xmlText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
