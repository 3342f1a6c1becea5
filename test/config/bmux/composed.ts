// Composes texts as if they were the layers `/0.toml`, `/1.toml` and so on, lowest first.
import { composeConfig, type ComposeFacts } from '../../../daemon/config/bmux/compose.ts';
import type { Layers } from '../../../daemon/config/bmux/layers.ts';
import { parseToml } from '../../../daemon/config/files/toml.ts';

const FACTS: ComposeFacts = { host: 'laptop', os: 'linux', runtimeName: '', env: { HOME: '/h', SET: 'set' } };

function layersOf(...texts: readonly string[]): Layers {
  const docs = texts.map((text, index) => {
    const parsed = parseToml(Buffer.from(text));
    if ('why' in parsed) throw new Error(parsed.why);
    return { file: `/${String(index)}.toml`, ...parsed };
  });
  return { docs, files: docs.map(({ file }) => file) };
}

export const compose = (texts: string | readonly string[], facts: Partial<ComposeFacts> = {}) =>
  composeConfig(layersOf(...[texts].flat()), { ...FACTS, ...facts });

/** Resolved value of `general.server_timeout`, ms. */
export const timeout = (texts: string | readonly string[], facts: Partial<ComposeFacts> = {}) =>
  compose(texts, facts).config.general.serverTimeoutMs;
