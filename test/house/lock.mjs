// Completes package-lock.json after an update of the dependencies: `npm run lock`.
//
// npm writes only those platform packages (native builds of iroh, oxlint and others for other systems) that its registry offered at the
// time. `npm ci` then refuses the whole file on every machine. The package that depends on them pins their versions, and their names
// contain the platform. So the missing entries can be made from the file itself, except for their checksums.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const PLATFORM =
  /(?:^|[-/])(aix|android|darwin|freebsd|linux|netbsd|openbsd|openharmony|sunos|win32)-(arm64|arm|ia32|loong64|mips64el|ppc64|riscv64|s390x|x64)(?:-(gnu|musl|msvc|eabi|gnueabihf|musleabihf))?$/;
const LIBC = { gnu: 'glibc', musl: 'musl' };

/** The missing entries of `packages`, by key. Throws when a name does not contain the platform. */
export function missingEntries(packages) {
  const missing = {};
  for (const [parent, entry] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const key = `node_modules/${name}`;
      if (key in packages || `${parent}/${key}` in packages) continue;
      const found = PLATFORM.exec(name);
      if (found === null || !/^\d+\.\d+\.\d+/.test(version)) {
        throw new Error(
          `package-lock.json lacks ${name}@${version}, and its name tells no platform: add it by hand`,
        );
      }
      const [, os, cpu, abi] = found;
      const libc = LIBC[abi];
      missing[key] = {
        version,
        cpu: [cpu],
        ...(entry.dev ? { dev: true } : {}),
        ...(libc ? { libc: [libc] } : {}),
        optional: true,
        os: [os],
      };
    }
  }
  return missing;
}

/** Writes the missing entries into the file; returns how many there were. */
export function completeLock(path) {
  const lock = JSON.parse(readFileSync(path, 'utf8'));
  const missing = missingEntries(lock.packages);
  const count = Object.keys(missing).length;
  if (count === 0) return 0;
  const all = Object.entries({ ...lock.packages, ...missing });
  lock.packages = Object.fromEntries(all.sort(([a], [b]) => a.localeCompare(b, 'en')));
  writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
  return count;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const path = fileURLToPath(new URL('../../package-lock.json', import.meta.url));
  console.log(`package-lock.json: ${completeLock(path)} platform packages added`);
}
