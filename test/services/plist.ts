// Parses a property list strictly enough to notice what launchd would refuse: mismatched elements, misplaced text, `--` inside a comment. It
// supports only the XML that such a file uses.

export type Value = string | number | boolean | readonly Value[] | { readonly [key: string]: Value };

/** Returns the value of a property list. Throws with the position of the first error. */
export function parsePlist(text: string): Value {
  const tokens = tokensOf(text);
  expect(tokens, '<plist version="1.0">');
  const value = valueFrom(tokens);
  expect(tokens, '</plist>');
  if (tokens.length > 0) throw new Error(`after the end: ${tokens.join('')}`);
  return value;
}

/** Tags and texts in order, without the prologue, comments and white space between them. */
function tokensOf(text: string): string[] {
  const prologue = /^<\?xml [^?]*\?>\s*<!DOCTYPE [^>]*>/.exec(text);
  if (prologue === null) throw new Error('the prologue is missing');
  const body = text.slice(prologue[0].length).replaceAll(/<!--([^]*?)-->/g, (_, inside: string) => {
    if (inside.includes('--')) throw new Error(`'--' in a comment: ${inside}`);
    return '';
  });
  return (body.match(/<[^<>]*>|[^<>]+/g) ?? []).filter((token) => token.trim() !== '');
}

function expect(tokens: string[], wanted: string): void {
  const token = tokens.shift();
  if (token !== wanted) throw new Error(`${wanted} expected, not ${String(token)}`);
}

function textFrom(tokens: string[], end: string): string {
  const text = tokens[0]?.startsWith('<') === false ? (tokens.shift() ?? '') : '';
  if (/&(?!(amp|lt|gt|quot|apos);)/.test(text)) throw new Error(`'&' in ${text}`);
  expect(tokens, end);
  return text;
}

function valueFrom(tokens: string[]): Value {
  const tag = tokens.shift();
  switch (tag) {
    case '<true/>':
      return true;
    case '<false/>':
      return false;
    case '<string>':
      return textFrom(tokens, '</string>');
    case '<integer>':
      return Number(textFrom(tokens, '</integer>'));
    case '<array>': {
      const items: Value[] = [];
      while (tokens[0] !== '</array>') items.push(valueFrom(tokens));
      tokens.shift();
      return items;
    }
    case '<dict>': {
      const entries: [string, Value][] = [];
      while (tokens[0] !== '</dict>') {
        expect(tokens, '<key>');
        entries.push([textFrom(tokens, '</key>'), valueFrom(tokens)]);
      }
      tokens.shift();
      return Object.fromEntries(entries);
    }
    default:
      throw new Error(`no value begins with ${String(tag)}`);
  }
}
