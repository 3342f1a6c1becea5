// Checks the rule of the layers (docs/architecture.md, "Layers"): an import points only to an earlier layer. Every ban has a reason. To run it
// alone: `node test/house/layers.mjs`, which prints nothing when there are no problems.
import { readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

import ts from 'typescript';

import { filesUnder } from './build.mjs';

/** From the first layer to the last. Layers on the same line must not import each other. */
export const LAYERS = [
  ['base'],
  ['errors'],
  ['bmux-ipc'],
  ['api'],
  ['config'],
  ['engine-protocol'],
  ['compression', 'request', 'policy'],
  ['target'],
  ['transport'],
  ['hello'],
  ['iroh', 'spares', 'splice'],
  ['sockets'],
  ['engine', 'control'],
  ['cli'],
  ['bin'],
];

/** Packages with native code, the only files that may import them, and the reason. */
const NATIVE = [
  {
    package: '@number0/iroh',
    allowed: /^(daemon\/transport\/iroh\/binding\.ts|test\/.*)$/,
    reason:
      'its values are boxed per byte, some of its functions abort the process, and its next release changes types: one adapter knows it',
  },
  {
    package: 'koffi',
    allowed: /^(daemon\/base\/c-library\.ts|test\/.*)$/,
    mayBeInControl: true,
    reason: 'it calls any function of any library without a check: one adapter loads the C library alone',
  },
  {
    package: 'zstd-napi',
    allowed: /^(daemon\/compression\/zstd\.ts|test\/.*)$/,
    reason: 'its contexts must be shared and its output bounded: one adapter does both',
  },
];

/** The only files that may import the adapter of the C library. */
const CALLS_C =
  /^(daemon\/(sockets\/peer|control\/service\/notify-socket|transport\/tcp\/options)\.ts|test\/.*)$/;

/**
 * The only files that read the process's arguments and environment; all other code gets what it needs as parameters. The library's
 * `index.ts` is one of them, because the environment of the program that calls the library is the caller's environment.
 */
const ENTRY_POINTS = /^(daemon\/bin\/|client-shim\/(bmux-stream|index)\.ts$|test\/|bench\/)/;
const VAGUE = /^(utils?|helpers?|common|misc|shared)$/;
const BUILTIN = new Set(builtinModules);

/** Layers that the client shim may import values of. */
const SHIM_MAY_IMPORT = ['base', 'errors', 'api'];

function rankOf(layer) {
  return LAYERS.findIndex((names) => names.includes(layer));
}

/** `daemon/<layer>/x.ts` → `<layer>`; `client-shim`, `test` and `bench` are areas of their own. */
function areaOf(file) {
  const [top, folder, ...rest] = file.split('/');
  return top === 'daemon' && rest.length > 0 ? folder : top;
}

/** Every module that the source imports: `{ name, typeOnly, line }`. `import { type X }` counts as a value, because it still loads the module. */
export function importsOf(source) {
  const found = [];
  const add = (node, typeOnly) => {
    if (node === undefined || !ts.isStringLiteralLike(node)) return;
    const line = source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
    found.push({ name: node.text, typeOnly, line });
  };
  const visit = (node) => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.isTypeOnly === true);
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument))
      add(node.argument.literal, true);
    else if (ts.isCallExpression(node)) {
      const name = ts.isIdentifier(node.expression) ? node.expression.text : '';
      if (node.expression.kind === ts.SyntaxKind.ImportKeyword || /require$/i.test(name))
        add(node.arguments[0], false);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** Why `file` may not import `name`, or undefined. `file` is relative to the root, with slashes. */
export function importProblem(file, { name, typeOnly }) {
  if (name.startsWith('.')) return localImportProblem(file, posix.join(posix.dirname(file), name), typeOnly);
  if (name.startsWith('node:')) return undefined;
  if (BUILTIN.has(name)) return `write 'node:${name}': a bare name may also be a package`;
  if (typeOnly) return undefined;
  if (file.startsWith('client-shim/')) {
    return `the shim loads no package (${name}): a short-lived command pays for every module that it loads`;
  }
  return undefined;
}

function localImportProblem(file, target, typeOnly) {
  if (target === 'daemon/base/c-library.ts' && !CALLS_C.test(file))
    return 'the C library does not check its arguments: three adapters call a few functions, with arguments of bounded size';
  const from = areaOf(file);
  const to = areaOf(target);
  if (from === to || from === 'test' || from === 'bench') return undefined;
  if (from === 'client-shim') {
    if (typeOnly || SHIM_MAY_IMPORT.includes(to)) return undefined;
    return `the shim may import daemon/{${SHIM_MAY_IMPORT.join(',')}} only, not ${target}: it must start in milliseconds and never load the daemon`;
  }
  if (rankOf(from) === -1) return undefined; // reported once, by fileProblems
  if (to === 'client-shim') {
    if (from === 'cli' || from === 'bin') return undefined;
    return `only cli and bin are clients: ${from} must not import client-shim`;
  }
  if (rankOf(to) === -1)
    return `${target} is no part of the daemon: it is not there when the package is installed`;
  if (rankOf(to) < rankOf(from)) return undefined;
  if (rankOf(to) === rankOf(from)) {
    return `${from} and ${to} stand beside each other: what they share is in an earlier layer`;
  }
  return `${from} comes before ${to}: an import points to an earlier layer only (move what is shared to the left, or pass it in)`;
}

/** The problems of one file, as lines `file:line: reason`. */
export function fileProblems(file, text) {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const problems = [];
  const say = (line, reason) => problems.push(`${file}:${line}: ${reason}`);
  const parts = file.split('/');
  for (const part of parts) {
    const stem = part.split('.')[0];
    if (VAGUE.test(stem)) say(1, `'${stem}' says nothing about what is in it: name the concept`);
  }
  if (parts[0] === 'daemon' && rankOf(areaOf(file)) === -1) {
    say(1, 'every file of the daemon is in the folder of a layer (LAYERS in test/house/layers.mjs)');
  }
  if (!/^(#!.*\n)?\s*(\/\/ ?\S|\/\*)/.test(text))
    say(1, 'the first thing in a file is a comment with its purpose');
  for (const entry of importsOf(source)) {
    const reason = importProblem(file, entry);
    if (reason !== undefined) say(entry.line, reason);
  }
  const visit = (node) => {
    if (ts.isStringLiteralLike(node)) {
      for (const native of NATIVE) {
        const named = node.text === native.package || node.text.startsWith(`${native.package}/`);
        if (named && !native.allowed.test(file))
          say(lineOf(source, node), `${native.package} is not for this file: ${native.reason}`);
      }
    } else if (ts.isPropertyAccessExpression(node) && !ENTRY_POINTS.test(file)) {
      const text = node.getText(source);
      if (text === 'process.env' || text === 'process.argv') {
        say(
          lineOf(source, node),
          `only entry points read ${text}: elsewhere it is an option, or the caller's world and the daemon's get mixed`,
        );
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return problems;
}

function lineOf(source, node) {
  return source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
}

/**
 * Finds chains of value imports by which control or the CLI would load native code. `files` maps each path to its text.
 * A binding that aborts ends its process: that may be an engine, but not control.
 */
export function nativeReach(files) {
  const imports = new Map();
  for (const [file, text] of files) {
    const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
    const targets = importsOf(source).filter(({ name, typeOnly }) => name.startsWith('.') && !typeOnly);
    imports.set(
      file,
      targets.map(({ name }) => posix.join(posix.dirname(file), name)),
    );
  }
  const native = (file) =>
    file.startsWith('daemon/') &&
    NATIVE.some(({ allowed, mayBeInControl }) => mayBeInControl !== true && allowed.test(file));
  const problems = [];
  for (const start of imports.keys()) {
    if (!/^daemon\/(control|cli)\//.test(start)) continue;
    const chain = chainTo(start, imports, native);
    if (chain !== undefined) {
      problems.push(
        `${start}:1: loads native code (${chain.join(' -> ')}): a binding that aborts may end an engine, but not control`,
      );
    }
  }
  return problems;
}

function chainTo(start, imports, wanted) {
  const cameFrom = new Map([[start, undefined]]);
  for (const file of cameFrom.keys()) {
    if (wanted(file)) {
      const chain = [];
      for (let at = file; at !== undefined; at = cameFrom.get(at)) chain.unshift(at);
      return chain;
    }
    for (const next of imports.get(file) ?? []) if (!cameFrom.has(next)) cameFrom.set(next, file);
  }
  return undefined;
}

/** All problems in the tree at `root`. */
export function checkLayers(root) {
  const files = ['daemon', 'client-shim', 'test', 'bench']
    .flatMap((folder) => filesUnder(root, folder))
    .filter((file) => /\.(ts|mjs)$/.test(file))
    .map((file) => [file, readFileSync(join(root, file), 'utf8')]);
  return [...files.flatMap(([file, text]) => fileProblems(file, text)), ...nativeReach(files)];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = checkLayers(fileURLToPath(new URL('../..', import.meta.url)));
  for (const problem of problems) console.log(problem);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
