// Whether the proxy of the environment accepts connections. Only lookups of share links go through it, so nothing else tells of one that is gone.
import { once } from 'node:events';
import { connect } from 'node:net';
import { inTime } from '../../base/async/deadline.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Env } from '../../base/paths.ts';
import { fail } from '../../errors/fail.ts';
import { controlPlaneUrl } from '../../target/control-plane.ts';
import { dialAddress } from '../../target/http/address.ts';
import { assertSupported, proxyFor } from '../../target/http/proxy.ts';
import { readConfig } from './configuration.ts';
import { finding, type Check } from './row.ts';

const VARIABLES = ['HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY'].flatMap((name) => [name, name.toLowerCase()]);

export const proxy: Check = async (surroundings) => {
  const area = 'proxy';
  const { env } = surroundings;
  if (VARIABLES.every((name) => (env[name] ?? '') === '')) return [];
  const to = controlPlaneUrl(env, (await readConfig(surroundings)).current.config);
  if (!URL.canParse(to)) return [];
  const url = new URL(to);
  const variable = VARIABLES.find((name) => hasProxy(url, { [name]: env[name] })) ?? '';
  try {
    const used = proxyFor(url, env);
    if (used === undefined) return [];
    assertSupported(used);
    await accepts(used.url);
    return [{ area, what: variable, detail: `${used.url.origin} accepts connections` }];
  } catch (error) {
    return [finding(area, variable, fail('proxy_unusable', { variable, host: url.host }, error))];
  }
};

/** Whether `env` names a proxy for `url`, or what is taken for one and cannot be used. */
function hasProxy(url: URL, env: Env): boolean {
  try {
    return proxyFor(url, env) !== undefined;
  } catch {
    return true;
  }
}

async function accepts(url: URL): Promise<void> {
  const socket = connect(dialAddress(url));
  try {
    const late = (): Error =>
      new Error(`${url.host} has not answered within ${String(LIMITS.proxyAskedMs)} ms`);
    await inTime(once(socket, 'connect'), LIMITS.proxyAskedMs, late);
  } finally {
    // What fails from here on is of no interest.
    socket.on('error', () => undefined).destroy();
  }
}
