// fetch that follows HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY as the real client's HTTP library does; Node's own does not on
// every version that we run on.
import type { Dispatcher } from 'undici';
import { proxyFor } from './proxy-choice.ts';

type Fetch = typeof globalThis.fetch;
type Env = Readonly<Record<string, string | undefined>>;

/** The package is loaded only where a proxy is used, at the first such request: it costs a start about 60 ms. */
export function proxyFetch(env: Env): Fetch {
  /** One per proxy; there are two at most. A load that failed is tried again: nothing of it is kept. */
  const agents = new Map<string, Dispatcher>();
  return async (input, init) => {
    const proxy = proxyFor(new URL(input instanceof Request ? input.url : input), env);
    if (proxy === undefined) return globalThis.fetch(input, init);
    const { fetch, ProxyAgent } = await import('undici');
    const dispatcher = agents.get(proxy) ?? new ProxyAgent({ uri: proxy });
    agents.set(proxy, dispatcher);
    // The package's own types of fetch are those of Node's global, under other names.
    return (fetch as unknown as (input: unknown, init: object) => ReturnType<Fetch>)(input, {
      ...init,
      dispatcher,
    });
  };
}
