// bmux://NAME: short names for targets, from the config or from the control plane (docs/bmux-protocol.md, "Share links").
import { fail, warned } from '../errors/fail.ts';
import { readAuthState } from './auth-state.ts';
import { controlPlaneUrl, lookUpShareLink } from './control-plane.ts';
import type { LookupLimits, RouteInputs } from './inputs.ts';

const SCHEME = 'bmux://';

function linkName(reference: string): string | undefined {
  return reference.startsWith(SCHEME) ? reference.slice(SCHEME.length) : undefined;
}

/** A reference after the control plane was asked. */
export interface AskedReference {
  readonly reference: string;
  /** Why the control plane named no target for the link; undefined when it did, or was not asked. */
  readonly why?: string | undefined;
  /** For the user: that others can read the access token. */
  readonly warnings?: readonly string[];
}

/**
 * Asks the control plane for a share link that the config does not define. Any other reference is returned unchanged. So is the link itself
 * when the user is not signed in or the control plane names no target for it.
 */
export async function askForShareLink(
  reference: string,
  { env, config, paths }: Pick<RouteInputs, 'env' | 'config' | 'paths'>,
  limits: LookupLimits,
): Promise<AskedReference> {
  const name = linkName(reference);
  if (name === undefined || config.connections.shareLinks.has(name)) return { reference };
  const signedIn = await readAuthState(paths.authState);
  if (signedIn === undefined) return { reference };
  const { token, warnings } = signedIn;
  const answer = await lookUpShareLink(name, controlPlaneUrl(env, config), token, limits);
  return 'target' in answer ? { reference: answer.target.trim(), warnings } : { reference, why: answer.why };
}

/**
 * Follows all share links of the config; the result is never a bmux:// reference. Fails with `share_link_unknown` or `share_link_loop`. What the
 * control plane said instead of a target is the cause and a warning of the first.
 */
export function followShareLinks(
  { reference, why }: AskedReference,
  shareLinks: ReadonlyMap<string, string>,
): string {
  const way: string[] = [];
  let current = reference;
  for (;;) {
    const name = linkName(current);
    if (name === undefined) return current;
    const repeated = way.includes(current);
    way.push(current);
    if (repeated) throw fail('share_link_loop', { name, way: way.join(' -> ') });
    const next = shareLinks.get(name);
    if (next === undefined) {
      if (why === undefined) throw fail('share_link_unknown', { name });
      throw warned(fail('share_link_unknown', { name }, new Error(why)), [why]);
    }
    // As in bmux: padding makes no other target of it, and least of all the local server.
    current = next.trim();
  }
}
