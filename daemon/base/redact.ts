// Removes secrets from texts: user and password of URLs, values in the query of a URL, and tokens in lines of the log.

/**
 * User info: in a URL all before the last @ of the authority, also percent-encoded in a query; elsewhere `user:password@` at the start of a
 * word. The user of an ssh URL, and of the address of an SSH server, without a password is shown: it is no secret, and the text of bmux has it.
 * Never across a double quote, so that a line stays JSON. Each part of a text is tried once, because a peer may have sent it.
 */
const CREDENTIALS =
  /(?<!\bssh:(?=\/\/[^\s/?#"\\:@]+@(?![^\s/?#"\\]*@)))(\/\/)[^\s/?#"\\]+(@|%40)|(%2F%2F)(?:(?!%2F)[^\s/?#&"'\\])+(@|%40)|(?<![^\s/?#&@"'\\])(?!ssh:[^\s/?#"'\\:@]+@(?![^\s/?#"'\\]*@))[^\s/?#&@"'\\:]+:[^\s/?#&@"'\\]+(@)/gi;

/** Values in a query or fragment, also percent-encoded. Those that bmux knows in a target are shown; each other one may be a secret. */
const QUERY_VALUES =
  /([?&#]|%3F|%26|%23)(?!(?:relay|addr|compression)(?:=|%3D)|auth(?:=|%3D)ssh(?![\w%]))([\w.~-]+(?:=|%3D))[^\s&#"\\]*[^\s&#"\\'),.:;]/gi;

/** `text` with every user info and every unknown value of a query in it replaced by `…`. */
export function withoutCredentials(text: string): string {
  // Fast paths: most texts have neither, and the expressions are tried at every start of a word.
  const hasUser = text.includes('@') || text.includes('%40');
  const shown = hasUser ? text.replace(CREDENTIALS, '$1$3…$2$4$5') : text;
  if (!shown.includes('=') && !/%3D/i.test(shown)) return shown;
  return shown.replace(QUERY_VALUES, '$1$2…');
}

/** Fields that hold a token, at any depth of what is logged. */
const TOKENS: ReadonlySet<string> = new Set(['access_token', 'authorization']);

/**
 * A line of JSON with every token in it hidden. pino's own `redact` copies each logged object, which costs as much as the rest of the line, and
 * looks at two levels only.
 */
export function withoutTokens(line: string): string {
  // Fast path: most lines have no token.
  if (!line.includes('access_token') && !line.includes('authorization')) return line;
  const hidden = JSON.stringify(JSON.parse(line), (key, value: unknown) =>
    TOKENS.has(key.toLowerCase()) ? '[hidden]' : value,
  );
  return `${hidden}\n`;
}
