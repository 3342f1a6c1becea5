// Bundles the programs into CommonJS files, which Node loads faster than modules, with the packages that they use, and the library into modules.
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';

/**
 * The bundled programs: the source without its ending, and the file in dist/ without its ending. `hasCommands`: it has some commands of the table
 * (BUNDLE_NAMES). `starters`: files that are run and load it. `old`: an old Node must be able to parse it.
 */
const BUNDLES = [
  { entry: 'client-shim/bmux-stream', output: 'client-shim/bmux-stream', old: true },
  { entry: 'daemon/bin/bmuxd-status', output: 'daemon/bin/bmuxd-status', hasCommands: true },
  { entry: 'daemon/bin/bmuxd', output: 'daemon/bin/bmuxd-quick', hasCommands: true },
  { entry: 'daemon/bin/bmuxd', output: 'daemon/bin/bmuxd-all', hasCommands: true },
  {
    entry: 'daemon/bin/bmuxd-daemon',
    output: 'daemon/bin/bmuxd-daemon',
    hasCommands: true,
    starters: ['daemon/bin/engine', 'daemon/bin/probe'],
  },
  // The quick commands read the config only to start a daemon. What reads it is half of their bundle.
  { entry: 'daemon/control/planning/unknown-target', output: 'daemon/bin/bmuxd-names' },
];
/** The library, as modules that share what both use, what `require` loads, and the types of both. */
const LIBRARY = {
  entries: { index: 'client-shim/index', 'server-meta': 'daemon/policy/server-meta' },
  folder: 'library',
};
/** What declarations import of each other: before it, the path without its ending, quoted at the beginning. */
const RELATIVE = /((?:from|import\()\s*)('\.[^']*)\.[jt]s'/g;
/** What the licenses of bundled packages ask for. */
const LICENSES = 'dist/third-party-licenses.txt';
/** The file that a person calls. It loads the bundle of the command. */
const FRONT = 'daemon/bin/bmuxd';
const BUNDLE_NAMES = 'daemon/bin/bundles';
/** What loads the bundles, in each file that is run. */
const LOADER = 'daemon/bin/load-bundle.ts';
/** The shell's part of the file that a person calls. */
export const SHELL_FRONT = 'daemon/cli/shell/front.sh';
const COMMANDS = 'daemon/cli/command-table.ts';

/** Writes all bundles whose sources are there. */
export async function bundleAll(root, sources) {
  const packages = new Set();
  const note = ({ metafile }) => {
    for (const input of Object.keys(metafile.inputs)) {
      const folder = /^.*\bnode_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(input)?.[0];
      if (folder !== undefined) packages.add(folder);
    }
  };
  for (const one of bundlesOf(sources)) note(await bundle(root, one));
  if (sources.includes(`${FRONT}.ts`)) await bundleFront(root);
  if (!hasLibrary(sources)) return;
  note(await bundleLibrary(root));
  writeFileSync(join(root, LICENSES), licensesOf(root, [...packages].sort(byName)));
}

/** All files of the bundles whose sources are there, relative to the root; those of the library are in a folder. */
export function bundledFiles(sources) {
  const files = bundlesOf(sources).flatMap(filesOf);
  if (sources.includes(`${FRONT}.ts`)) files.push(`dist/${FRONT}.cjs`);
  if (!hasLibrary(sources)) return files;
  const entries = Object.keys(LIBRARY.entries).flatMap((name) =>
    ['js', 'cjs'].map((ending) => `dist/${LIBRARY.folder}/${name}.${ending}`),
  );
  return [...files, ...entries, LICENSES];
}

function bundlesOf(sources) {
  return BUNDLES.filter(({ entry }) => sources.includes(`${entry}.ts`));
}

function hasLibrary(sources) {
  return Object.values(LIBRARY.entries).every((entry) => sources.includes(`${entry}.ts`));
}

function filesOf({ output, starters = [] }) {
  return [`dist/${output}.cjs`, `dist/${output}.cjs.map`, ...starters.map((one) => `dist/${one}.cjs`)];
}

const byName = (a, b) => (a < b ? -1 : 1);

/** The text of the licenses of packages whose code is in a bundle. */
function licensesOf(root, packages) {
  const sections = packages.map((relativeFolder) => {
    const folder = join(root, relativeFolder);
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const files = readdirSync(folder).filter((file) => /^(licen[cs]e|notice|copying)/i.test(file));
    const texts = files.map((file) => readFileSync(join(folder, file), 'utf8').trim());
    return [`${name} ${version} (${license})`, ...texts].join('\n\n');
  });
  const line = `\n\n${'-'.repeat(80)}\n\n`;
  return `The programs of bmuxd contain code of these packages:${line}${sections.join(line)}\n`;
}

/** The modules of the table of commands that are in the bundle of this name. */
async function commandModules(root, bundleName) {
  const { bundleOf } = await import(pathToFileURL(join(root, `dist/${BUNDLE_NAMES}.js`)).href);
  const table = readFileSync(join(root, COMMANDS), 'utf8');
  const modules = new Set();
  let isHere = false;
  for (const [, name, module] of table.matchAll(/\bname: '([^']+)'|\bimport\('([^']+)'\)/g)) {
    if (name !== undefined) isHere = bundleOf(name) === bundleName;
    else if (isHere) modules.add(module);
  }
  return modules;
}

/** Leaves out of a bundle what is in others. */
async function parts(root, { output, hasCommands = false }) {
  const own = hasCommands ? await commandModules(root, basename(output)) : new Set();
  return {
    name: 'parts',
    setup: ({ onResolve, onLoad }) => {
      onResolve({ filter: /^\./ }, ({ path, importer, resolveDir, kind, namespace }) => {
        if (namespace === 'required') return { path, external: true };
        if (kind !== 'dynamic-import') return undefined;
        const source = relative(root, join(resolveDir, path)).replaceAll('\\', '/');
        const other = BUNDLES.find(({ entry }) => `${entry}.ts` === source);
        if (other !== undefined) {
          const found = relative(dirname(output), `${other.output}.cjs`);
          return { path: found.startsWith('.') ? found : `./${found}`, namespace: 'required' };
        }
        const isAbsent = relative(root, importer) === COMMANDS && !own.has(path);
        return isAbsent ? { path, namespace: 'absent' } : undefined;
      });
      // Another bundle is loaded with `require`: Node takes longer to import CommonJS.
      onLoad({ filter: /./, namespace: 'required' }, ({ path }) => ({
        contents: `module.exports = require(${JSON.stringify(path)});`,
      }));
      // The command is in another bundle, which the first one has loaded for it.
      onLoad({ filter: /./, namespace: 'absent' }, () => ({ contents: 'module.exports = {};' }));
    },
  };
}

/**
 * The library as modules, and the types that it shows. What is imported and what is required are the same objects: `require` gets a file that
 * loads the module. TypeScript takes the types of such a file for CommonJS only where they end so.
 */
async function bundleLibrary(root) {
  const { build } = await import('esbuild');
  const outdir = join(root, 'dist', LIBRARY.folder);
  rmSync(outdir, { recursive: true, force: true });
  const entries = Object.entries(LIBRARY.entries);
  const result = await build({
    entryPoints: Object.fromEntries(entries.map(([name, entry]) => [name, join(root, `${entry}.ts`)])),
    outdir,
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    metafile: true,
    absWorkingDir: root,
    logLevel: 'warning',
  });
  const types = new Set();
  const visit = (path) => {
    if (types.has(path)) return;
    types.add(path);
    const text = readFileSync(join(root, 'dist', path), 'utf8');
    const to = join(outdir, path);
    mkdirSync(dirname(to), { recursive: true });
    writeFileSync(to, text);
    writeFileSync(to.replace(/ts$/, 'cts'), text.replaceAll(RELATIVE, "$1$2.cts'"));
    for (const [, , found] of text.matchAll(RELATIVE)) visit(join(dirname(path), `${found.slice(1)}.d.ts`));
  };
  for (const [name, entry] of entries) {
    visit(`${entry}.d.ts`);
    writeFileSync(join(outdir, `${name}.cjs`), required(root, name));
  }
  return result;
}

/** The file for `require`. Node 21 and 22.0 to 22.11 are new enough, but import modules only. */
function required(root, name) {
  const asked = name === 'index' ? 'bmuxd' : `bmuxd/${name}`;
  return `"use strict";
${checkOfNode(root, 'throw new Error(text)')}
try {
  module.exports = require('./${name}.js');
} catch (error) {
  if (error.code !== 'ERR_REQUIRE_ESM') throw error;
  throw new Error("require('${asked}') needs a Node that can require ES modules (20.19, 22.12 or later), and this is " + process.version + " (" + process.execPath + ").\\nUse \`await import('${asked}')\`, or a newer Node.");
}
`;
}

/** Code that an old Node can parse, too: it says which Node is needed. The rest is compiled for such a Node, but not run by it. */
function checkOfNode(root, end = "process.stderr.write(text + '\\n');\n  process.exit(1)") {
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const [major, minor] = engines.node.replace('>=', '').split('.').map(Number);
  return `(function () {
  var parts = process.versions.node.split('.').map(Number);
  if (parts[0] > ${major} || (parts[0] === ${major} && parts[1] >= ${minor})) return;
  var text = 'bmuxd needs Node >= ${major}.${minor}, and this is ' + process.version + ' (' + process.execPath + ').\\nPut a newer Node first in PATH, or install one.';
  ${end};
})();`;
}

/** Writes the files of one bundle. Packages with native code are loaded by `createRequire`, and so they stay outside. */
async function bundle(root, bundled) {
  const { entry, output, starters = [], old = false } = bundled;
  const { build } = await import('esbuild');
  const outfile = join(root, `dist/${output}.cjs`);
  const result = await build({
    entryPoints: [join(root, `${entry}.ts`)],
    outfile,
    bundle: true,
    platform: 'node',
    target: old ? 'node12' : 'node20',
    // With compiled code, Node 20 cannot import from a script of `node:vm` ("a dynamic import callback was not specified").
    supported: { 'dynamic-import': old },
    format: 'cjs',
    sourcemap: 'linked',
    metafile: true,
    absWorkingDir: root,
    define: { 'import.meta.dirname': '__dirname', 'import.meta.filename': '__filename' },
    banner: {
      js: old ? `#!/usr/bin/env node\n"use strict";\n${checkOfNode(root)}` : '"use strict";',
    },
    plugins: [await parts(root, bundled)],
    minify: true,
    logLevel: 'warning',
  });
  if (old) chmodSync(outfile, 0o755);
  if (!old) appendFileSync(outfile, `//${hashOf(outfile)}\n`);
  for (const starter of starters)
    writeFileSync(
      join(root, `dist/${starter}.cjs`),
      `"use strict";\n${checkOfNode(root)}\n${await loads(root, starter, output)}`,
    );
  return result;
}

/** Writes the file that a person calls. */
async function bundleFront(root) {
  const program = join(root, `dist/${FRONT}.cjs`);
  const shell = await shellFront(root);
  writeFileSync(program, `${shell}"use strict";\n${checkOfNode(root)}\n${await loads(root, FRONT)}`);
  chmodSync(program, 0o755);
}

/** The shell's part, with what it shares with the modules. */
async function shellFront(root) {
  const { KEY_IN_SHELL } = await import(pathToFileURL(join(root, 'dist/daemon/request/shell-file.js')).href);
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const text = readFileSync(join(root, SHELL_FRONT), 'utf8');
  return text.replaceAll('@KEY@', () => KEY_IN_SHELL).replaceAll('@VERSION@', version);
}

/** What the name of compiled code begins with (`nameFor` of LOADER): 16 digits. */
function hashOf(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex').slice(0, 16);
}

/** The statements of the file `from` that load a bundle, or without `output` that of the command. */
async function loads(root, from, output) {
  const { build } = await import('esbuild');
  const isLong = from.endsWith('/engine') ? 'true' : "process.argv[2] === 'run'";
  const name =
    output === undefined
      ? "bundleOf(process.argv[2] || '')"
      : JSON.stringify(relative(dirname(from), output));
  const { outputFiles } = await build({
    stdin: {
      contents: `${from === FRONT ? "import './daemon/bin/bmuxd-signals.ts';" : ''}
        import { loadBundle } from './${LOADER}';
        import { bundleOf } from './${BUNDLE_NAMES}.ts';
        loadBundle(__dirname + '/' + ${name} + '.cjs', require, ${isLong});`,
      resolveDir: root,
    },
    bundle: true,
    platform: 'node',
    // The check of Node stands in the same file.
    target: 'node12',
    format: 'cjs',
    minify: true,
    write: false,
    logLevel: 'warning',
  });
  return outputFiles[0].text;
}
