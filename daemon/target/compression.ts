// Which compression modes are tried on a remote target, likeliest first (docs/bmux-protocol.md, "Compression mode").
import type { ResolvedTarget } from '../engine-protocol/plan.ts';
import type { CompressionSetting, RouteInputs } from './inputs.ts';

/**
 * Both modes, ordered. bmuxd's setting for `label` wins over `own`, what the target itself says; a mode that either of them names is
 * `compressionStated`. `auto` follows the config and is a guess only: nothing on the wire tells what the gateway does.
 */
export function compressionFor(
  label: string,
  own: CompressionSetting,
  { config, overrides }: Pick<RouteInputs, 'config' | 'overrides'>,
): Pick<ResolvedTarget, 'compression' | 'compressionStated'> {
  const asked = overrides?.get(label) ?? own;
  const { enabled, remote } = config.behavior.compression;
  const zstd = asked === 'auto' ? enabled && (remote === 'auto' || remote === 'zstd') : asked === 'zstd';
  return {
    compression: zstd ? ['zstd', 'none'] : ['none', 'zstd'],
    compressionStated: asked !== 'auto',
  };
}
