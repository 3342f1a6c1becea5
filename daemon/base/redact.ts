// Removes secrets from texts: user and password of URLs, and tokens in lines of the log.

/** In a URL, also percent-encoded in a query: all before the @. Elsewhere: `user:password@`. Never across a quote, so that a line stays JSON. */
const CREDENTIALS = /(\/\/|%2F%2F)[^\s/?#&@"'\\]+(@|%40)|[^\s/?#&@"'\\:]+:[^\s/?#&@"'\\]+(@)/gi;

/** `text` with every user info in it replaced by `…`. */
export function withoutCredentials(text: string): string {
  // Fast path: most texts have no @, and the expression is tried at every start of a word.
  if (!text.includes('@') && !text.includes('%40')) return text;
  return text.replace(
    CREDENTIALS,
    (_all, slashes: string | undefined, at: string | undefined) => `${slashes ?? ''}…${at ?? '@'}`,
  );
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
