// The package's own version, read once by each entry point.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json, at the same relative path in a checkout and an installed package. */
export function packageRoot(): string {
  // dist/daemon/base/version.js
  return join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
}

/** The files that are run: `bmuxd`, an engine, the probe of `bmuxd doctor`. Each is one bundle (test/house/bundle.mjs). */
type Program = 'bmuxd' | 'engine' | 'probe';

/** The file of a program, at the same relative path from the modules and from a bundle. */
export function programPath(name: Program = 'bmuxd'): string {
  return join(dirname(fileURLToPath(import.meta.url)), '..', 'bin', `${name}.cjs`);
}

/** `version` of package.json. */
export function packageVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
  const version =
    typeof parsed === 'object' && parsed !== null && 'version' in parsed ? parsed.version : undefined;
  return typeof version === 'string' ? version : '0.0.0';
}
