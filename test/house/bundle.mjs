// Bundles the programs that a person calls into CommonJS files, which Node loads faster than modules.
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** The bundled programs: the source without its ending, and the file in dist/ without its ending. `front`: the file that a person calls. */
const BUNDLES = [
  { entry: 'client-shim/bmux-stream', output: 'client-shim/bmux-stream' },
  { entry: 'daemon/bin/bmuxd-front', output: 'daemon/bin/bmuxd-quick', front: 'daemon/bin/bmuxd' },
  { entry: 'daemon/bin/bmuxd-all', output: 'daemon/bin/bmuxd-all' },
];
/** The shell's part of the file that a person calls. */
export const SHELL_FRONT = 'daemon/cli/shell/front.sh';
const MODULE_URL = "const moduleUrl = require('node:url').pathToFileURL(__filename).href;";

/** The bundles whose sources are there. */
export function bundlesOf(sources) {
  return BUNDLES.filter(({ entry }) => sources.includes(`${entry}.ts`));
}

/** The files of a bundle, relative to the root. */
export function filesOf({ output, front }) {
  const own = [`dist/${output}.cjs`, `dist/${output}.cjs.map`];
  return front === undefined ? own : [...own, `dist/${front}.cjs`];
}

/** Modules that stay outside of the bundles, as files of their own in dist/: those of the daemon. */
const DAEMON = /^daemon\/(bin\/bmuxd|control\/.*|sockets\/check-node)\.ts$/;
const COMMANDS = 'daemon/cli/command-table.ts';

/** The modules of commands that are not in QUICK of daemon/cli/shell/quick.ts. */
function slowCommands(root) {
  const quick = /\[(.*)\]/s.exec(readFileSync(join(root, 'daemon/cli/shell/quick.ts'), 'utf8'))?.[1] ?? '';
  const table = readFileSync(join(root, COMMANDS), 'utf8');
  const modules = { quick: new Set(), slow: new Set() };
  let kind = 'slow';
  for (const [, name, module] of table.matchAll(/\bname: '([^']+)'|\bimport\('([^']+)'\)/g)) {
    if (name === undefined) modules[kind].add(module);
    else kind = quick.includes(`'${name}'`) ? 'quick' : 'slow';
  }
  return new Set([...modules.slow].filter((module) => !modules.quick.has(module)));
}

/** Lets a bundle import what is outside of it from its place in dist/. */
function outside(root, { output, front }) {
  const slow = front === undefined ? new Set() : slowCommands(root);
  return {
    name: 'outside',
    setup: ({ onResolve, onLoad }) => {
      onResolve({ filter: /^\./ }, ({ path, importer, resolveDir, kind, namespace }) => {
        if (namespace === 'required') return { path, external: true };
        if (kind !== 'dynamic-import') return undefined;
        const source = relative(root, join(resolveDir, path)).replaceAll('\\', '/');
        const there = (ending) => {
          const found = relative(dirname(output), source.replace(/\.ts$/, ending));
          return found.startsWith('.') ? found : `./${found}`;
        };
        if (BUNDLES.some(({ entry }) => `${entry}.ts` === source))
          return { path: there('.cjs'), namespace: 'required' };
        const isSlow = slow.has(path) && relative(root, importer) === COMMANDS;
        return isSlow || DAEMON.test(source) ? { path: there('.js'), external: true } : undefined;
      });
      // Another bundle is loaded with `require`: Node takes longer to import CommonJS.
      onLoad({ filter: /./, namespace: 'required' }, ({ path }) => ({
        contents: `module.exports = require(${JSON.stringify(path)});`,
      }));
    },
  };
}

/** Code that an old Node can parse, too: it says which Node is needed. The rest is compiled for such a Node, but not run by it. */
function checkOfNode(root) {
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const [major, minor] = engines.node.replace('>=', '').split('.').map(Number);
  return `(function () {
  var parts = process.versions.node.split('.').map(Number);
  if (parts[0] > ${major} || (parts[0] === ${major} && parts[1] >= ${minor})) return;
  process.stderr.write('bmuxd needs Node >= ${major}.${minor}, and this is ' + process.version + ': ' + process.execPath + '\\n');
  process.exit(1);
})();`;
}

/** Writes the files of one bundle. */
export async function bundle(root, bundled) {
  const { entry, output, front } = bundled;
  const { build } = await import('esbuild');
  const outfile = join(root, `dist/${output}.cjs`);
  const source = join(root, `${entry}.ts`);
  await build({
    entryPoints: [source],
    outfile,
    bundle: true,
    platform: 'node',
    // An old Node must be able to parse the file that it runs first.
    target: front === undefined ? 'node12' : 'node20',
    supported: { 'dynamic-import': true },
    format: 'cjs',
    sourcemap: 'linked',
    packages: 'external',
    define: { 'import.meta.url': 'moduleUrl' },
    banner: {
      js: `${front === undefined ? `#!/usr/bin/env node\n"use strict";\n${checkOfNode(root)}` : '"use strict";'}\n${MODULE_URL}`,
    },
    plugins: [outside(root, bundled)],
    minify: true,
    logLevel: 'warning',
  });
  if (front === undefined) {
    chmodSync(outfile, 0o755);
    return;
  }
  const program = join(root, `dist/${front}.cjs`);
  const shell = readFileSync(join(root, SHELL_FRONT), 'utf8');
  const next = `./${relative(dirname(front), output)}.cjs`;
  writeFileSync(program, `${shell}"use strict";\n${checkOfNode(root)}\nrequire('${next}');\n`);
  chmodSync(program, 0o755);
}
