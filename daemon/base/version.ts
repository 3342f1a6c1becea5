// The package's own version, read once by each entry point.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The folder of package.json, at the same relative path in a checkout and an installed package. */
export function packageRoot(): string {
  // dist/daemon/base/version.js
  return join(import.meta.dirname, '..', '..', '..');
}

/** The files that are run: `bmuxd`, an engine, the probe of `bmuxd doctor`. Each is one bundle (test/house/bundle.mjs). */
type Program = 'bmuxd' | 'engine' | 'probe';

/** The file of a program, at the same relative path from the modules and from a bundle. */
export function programPath(name: Program = 'bmuxd'): string {
  return join(import.meta.dirname, '..', 'bin', `${name}.cjs`);
}

let version: string | undefined;

/** `version` of package.json when it was first asked for. */
export function packageVersion(): string {
  version ??= readVersion();
  return version;
}

function readVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
  const found =
    typeof parsed === 'object' && parsed !== null && 'version' in parsed ? parsed.version : undefined;
  return typeof found === 'string' ? found : '0.0.0';
}
