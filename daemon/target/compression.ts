// Chooses the compression modes to try on a remote target, most likely first (docs/bmux-protocol.md, "Compression mode").
import type { ResolvedTarget } from '../engine-protocol/plan.ts';
import type { CompressionSetting, RouteInputs } from './inputs.ts';

/**
 * Returns both modes in order. bmuxd's setting for `label` overrides `own`, the setting of the target. When either names a mode,
 * `compressionStated` is true. `auto` follows the config and is only a guess: nothing on the wire shows which mode the gateway uses.
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
