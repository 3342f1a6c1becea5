// Target resolution: turns what the user wrote into a route, as data (docs/bmux-protocol.md, "Targets").
import { meant } from '../errors/nearest.ts';
import { quoted } from '../base/quote.ts';
import { fail } from '../errors/fail.ts';
import type { ResolvedTarget } from '../engine-protocol/plan.ts';
import type { ResolveInputs, RouteInputs } from './inputs.ts';
import { inlineTarget } from './inline.ts';
import { localTarget } from './local.ts';
import { namedTarget } from './named.ts';
import { selectTarget } from './select.ts';
import { askForShareLink, followShareLinks } from './share-links.ts';

export type { CompressionSetting, ResolveInputs } from './inputs.ts';

/**
 * Resolves the target of a request. It reads auth-state.json and asks the control plane only for a share link that the config does not define.
 * Every error of a target is a failure of the registry.
 */
export async function resolveTarget(inputs: ResolveInputs): Promise<ResolvedTarget> {
  const selected = selectTarget(inputs.target, inputs.env, inputs.config);
  const answered = await askForShareLink(selected, inputs, inputs.lookup);
  const reference = followShareLinks(answered, inputs.config.connections.shareLinks);
  if (reference === selected) return routeOf(reference, false, inputs);
  const own = inputs.overrides?.get(selected);
  const overrides = own === undefined ? inputs.overrides : new Map(inputs.overrides).set(reference, own);
  const resolved = routeOf(reference, true, { ...inputs, overrides });
  return { ...resolved, warnings: [...(answered.warnings ?? []), ...resolved.warnings], link: selected };
}

function routeOf(reference: string, throughLink: boolean, inputs: RouteInputs): ResolvedTarget {
  if (reference === '') {
    return localTarget(
      inputs,
      throughLink ? ['the share link is empty: connecting to the local server'] : [],
    );
  }
  if (reference === 'local') return localTarget(inputs);
  const named = inputs.config.connections.targets.get(reference);
  if (named !== undefined) return namedTarget(reference, named, inputs);
  const inline = inlineTarget(reference, inputs);
  if (inline !== undefined) return inline;
  if (inputs.hasHad?.(reference) === true) throw fail('target_gone', { name: reference });
  const word = quoted(reference).slice(1, -1).replaceAll('\\"', '"');
  if (inputs.refusesUnknown === true) {
    throw fail('target_unknown', { name: word, near: meant(reference, namesOf(inputs)) });
  }
  return localTarget(inputs, [`target '${word}' is not configured: connecting to the local server`]);
}

/** What a misspelt word may mean. */
function namesOf({ config: { connections } }: RouteInputs): string[] {
  const links = [...connections.shareLinks.keys()].map((name) => `bmux://${name}`);
  return ['local', ...connections.targets.keys(), ...links];
}
