// A `fetch` that obeys HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY as bmux does. Node's own `fetch` does not do so in every
// supported version.
import type { Dispatcher } from 'undici';
import { proxyFor } from './proxy-choice.ts';

type Fetch = typeof globalThis.fetch;
type Env = Readonly<Record<string, string | undefined>>;

/** The undici package is loaded at the first request through a proxy, because loading it takes about 60 ms. */
export function proxyFetch(env: Env): Fetch {
  /** One per proxy URL, of which there are two at most. When loading undici fails, the next request tries again. */
  const agents = new Map<string, Dispatcher>();
  return async (input, init) => {
    const proxy = proxyFor(new URL(input instanceof Request ? input.url : input), env);
    if (proxy === undefined) return globalThis.fetch(input, init);
    const { fetch, ProxyAgent } = await import('undici');
    const dispatcher = agents.get(proxy) ?? new ProxyAgent({ uri: proxy });
    agents.set(proxy, dispatcher);
    // undici's types of fetch equal those of Node's global fetch, but TypeScript takes them for different types.
    return (fetch as unknown as (input: unknown, init: object) => ReturnType<Fetch>)(input, {
      ...init,
      dispatcher,
    });
  };
}
