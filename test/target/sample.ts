// Configs, folders and inputs for the tests of target resolution, with the same defaults as the config stage.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { HttpClient } from '../../daemon/target/http/client.ts';
import type { ResolveInputs } from '../../daemon/target/resolve.ts';
import type { BmuxConfig, TargetConfig } from '../../daemon/config/bmux/types.ts';

/** A folder that is removed after the test. */
export async function ownFolder(t: Test): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'bmuxd-target-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** A target with the defaults of the config file. */
function target(fields: Partial<TargetConfig>): TargetConfig {
  return {
    transport: 'local',
    irohSshAuth: false,
    strictHostKeyChecking: true,
    remoteBmuxPath: 'bmux',
    connectTimeoutMs: 8000,
    serverStartMode: 'auto',
    ...fields,
  };
}

interface ConfigParts {
  readonly defaultTarget?: string;
  readonly controlPlaneUrl?: string;
  readonly targets?: Readonly<Record<string, Partial<TargetConfig>>>;
  readonly shareLinks?: Readonly<Record<string, string>>;
  readonly compression?: BmuxConfig['behavior']['compression'];
}

/** A config with bmux's defaults and the given changes. */
export function config(parts: ConfigParts = {}): BmuxConfig {
  const { targets = {}, shareLinks = {}, compression = { enabled: true, remote: 'auto' }, ...rest } = parts;
  return {
    general: { serverTimeoutMs: 5000 },
    connections: {
      ...rest,
      targets: new Map(Object.entries(targets).map(([name, fields]) => [name, target(fields)])),
      shareLinks: new Map(Object.entries(shareLinks)),
    },
    behavior: { staleBuildAction: 'ignore', compression },
  };
}

/** Sends lookups directly. */
export const http = new HttpClient({ env: {} });

/** Inputs for `resolveTarget` in a runtime dir that need not exist. */
export function inputs(parts: Partial<ResolveInputs> & { readonly runtimeDir?: string } = {}): ResolveInputs {
  const { runtimeDir = '/nonexistent/run', ...rest } = parts;
  return {
    env: {},
    cwd: '/home/me',
    config: config(),
    paths: { serverSocket: join(runtimeDir, 'server.sock'), authState: join(runtimeDir, 'auth-state.json') },
    lookup: { timeoutMs: 5000, get: http.get },
    ...rest,
  };
}
