// The package's own version, read once by each entry point.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json, at the same relative path in a checkout and an installed package. */
export function packageRoot(): string {
  // dist/daemon/base/version.js
  return join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
}

/** The file that `bmuxd` is, at the same relative path in the modules and in the bundle. */
export function programPath(): string {
  return join(dirname(fileURLToPath(import.meta.url)), '..', 'bin', 'bmuxd.cjs');
}

/** `version` of package.json. */
export function packageVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
  const version =
    typeof parsed === 'object' && parsed !== null && 'version' in parsed ? parsed.version : undefined;
  return typeof version === 'string' ? version : '0.0.0';
}
