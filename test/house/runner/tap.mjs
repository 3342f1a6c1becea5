// Makes one file of tap, which test files find before the package. Each test file is a process of its own, and tap is 262 modules: to load them took
// 0.35 s of CPU in each.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** tap leaves the modules of this folder out of the stacks that it prints. */
const OUTPUT = 'dist/node_modules/@tapjs/tap.mjs';
const MANIFEST = 'dist/node_modules/tap/package.json';

/** The files that `bundleTap` makes, relative to the root. */
export const TAP_FILES = [OUTPUT, MANIFEST];

export async function bundleTap(root) {
  const { build } = await import('esbuild');
  await build({
    stdin: { contents: "export * from 'tap'; export { default } from 'tap';", resolveDir: root },
    outfile: join(root, OUTPUT),
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    // Parts of it are CommonJS, which a module has no `require` for.
    banner: {
      js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
    },
    keepNames: true,
    logLevel: 'warning',
  });
  mkdirSync(dirname(join(root, MANIFEST)), { recursive: true });
  writeFileSync(join(root, MANIFEST), JSON.stringify({ name: 'tap', main: '../@tapjs/tap.mjs' }));
}
