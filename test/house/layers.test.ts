// Tests the check of the layers with made-up files: some break the rule and must be found, the others must not.
import t from 'tap';

interface Layers {
  fileProblems: (file: string, text: string) => string[];
  nativeReach: (files: [file: string, text: string][]) => string[];
}

// These tools are not compiled into dist/, so they are imported from the source folder.
const tool = new URL('../../../test/house/layers.mjs', import.meta.url);
const { fileProblems, nativeReach } = (await import(tool.href)) as Layers;

const PURPOSE = '// What this file is for.\n';

const refused: readonly [name: string, file: string, line: string, reason: RegExp][] = [
  ['an import to the right', 'daemon/api/x.ts', "import { a } from '../hello/a.ts';", /earlier layer/],
  [
    'a type import to the right',
    'daemon/api/x.ts',
    "import type { A } from '../hello/a.ts';",
    /earlier layer/,
  ],
  ['an export from the right', 'daemon/base/x.ts', "export { a } from '../errors/a.ts';", /earlier layer/],
  ['a dynamic import to the right', 'daemon/base/x.ts', "await import('../errors/a.ts');", /earlier layer/],
  [
    'an import type node to the right',
    'daemon/base/x.ts',
    "let a: import('../errors/a.ts').A;",
    /earlier layer/,
  ],
  ['engine to control', 'daemon/engine/x.ts', "import { a } from '../control/a.ts';", /beside each other/],
  ['control to engine', 'daemon/control/x.ts', "import { a } from '../engine/a.ts';", /beside each other/],
  ['daemon to test', 'daemon/bin/x.ts', "import { a } from '../../test/a.ts';", /not there when/],
  [
    'control to the shim',
    'daemon/control/x.ts',
    "import { a } from '../../client-shim/a.ts';",
    /are clients/,
  ],
  ['the shim to policy', 'client-shim/x.ts', "import { a } from '../daemon/policy/a.ts';", /milliseconds/],
  ['a package in the shim', 'client-shim/x.ts', "import { pino } from 'pino';", /pays for every module/],
  ['a type among values in the shim', 'client-shim/x.ts', "import { type A } from 'pino';", /pays for every/],
  ['a required package in the shim', 'client-shim/x.ts', "const a = nodeRequire('pino');", /pays for every/],
  ['a bare builtin', 'daemon/base/x.ts', "import { join } from 'path';", /node:path/],
  [
    'iroh outside of its adapter',
    'daemon/transport/iroh/endpoint.ts',
    "import iroh from '@number0/iroh';",
    /one adapter/,
  ],
  ['a file of iroh', 'daemon/iroh/x.ts', "load('@number0/iroh/index.js');", /one adapter/],
  ['zstd outside of its adapter', 'daemon/engine/x.ts', "import * as z from 'zstd-napi/binding';", /bounded/],
  ['koffi outside of its adapter', 'daemon/sockets/peer.ts', "load('koffi');", /one adapter/],
  ['the C library', 'daemon/engine/x.ts', "import { a } from '../base/c-library.ts';", /three adapters/],
  ['the environment', 'daemon/control/x.ts', 'const home = process.env.HOME;', /entry points/],
  ['the arguments', 'daemon/cli/x.ts', 'run(process.argv.slice(2));', /entry points/],
  ['a vague file', 'daemon/api/helpers.ts', '', /name the concept/],
  ['a vague folder', 'test/utils/x.ts', '', /name the concept/],
  ['a folder that is no layer', 'daemon/extras/x.ts', '', /folder of a layer/],
  ['a file outside of the layers', 'daemon/x.ts', '', /folder of a layer/],
];

t.test('each violation is reported once, with its reason', async (t) => {
  for (const [name, file, line, reason] of refused) {
    const problems = fileProblems(file, `${PURPOSE}${line}\n`);
    t.match(problems[0], reason, name);
    t.equal(problems.length, 1, `${name}: reported once`);
  }
  t.match(fileProblems('daemon/base/x.ts', 'export const a = 1;\n'), [/purpose/], 'no first comment');
});

t.test('imports that the rule allows are not reported', async (t) => {
  const allowed: readonly [file: string, line: string][] = [
    ['daemon/hello/x.ts', "import { a } from '../errors/a.ts';"],
    ['daemon/hello/x.ts', "import { a } from './a.ts';"],
    ['daemon/hello/x.ts', "import { join } from 'node:path';"],
    ['daemon/control/x.ts', "import fastify from 'fastify';"],
    ['daemon/cli/x.ts', "import { a } from '../../client-shim/a.ts';"],
    ['daemon/bin/x.ts', 'main(process.argv, process.env);'],
    ['daemon/transport/iroh/binding.ts', "import iroh from '@number0/iroh';"],
    ['daemon/sockets/peer.ts', "import { a } from '../base/c-library.ts';"],
    ['daemon/compression/zstd.ts', "import { DCtx } from 'zstd-napi/binding';"],
    ['client-shim/x.ts', "import { a } from '../daemon/api/a.ts';"],
    ['client-shim/x.ts', "import type { A } from '../daemon/policy/a.ts';"],
    ['client-shim/x.ts', "import type { A } from 'pino';"],
    ['test/hello/x.test.ts', "import { a } from '../../daemon/control/a.ts';"],
    ['daemon/base/x.ts', "const text = 'import { a } from ../errors/a.ts';"],
  ];
  for (const [file, line] of allowed)
    t.same(fileProblems(file, `${PURPOSE}${line}\n`), [], `${file}: ${line}`);
  t.same(
    fileProblems('daemon/bin/x.ts', `#!/usr/bin/env node\n${PURPOSE}`),
    [],
    'a line for the shell may come before the comment',
  );
});

t.test('control must not load native code, not even through other modules', async (t) => {
  const binding: [string, string] = ['daemon/transport/iroh/binding.ts', ''];
  const between: [string, string] = [
    'daemon/iroh/pool.ts',
    "import { a } from '../transport/iroh/binding.ts';",
  ];
  const value: [string, string] = ['daemon/control/x.ts', "import { b } from '../iroh/pool.ts';"];
  const typeOnly: [string, string] = ['daemon/control/x.ts', "import type { B } from '../iroh/pool.ts';"];
  const problems = nativeReach([value, between, binding]);
  t.match(problems, [/control\/x\.ts -> daemon\/iroh\/pool\.ts -> daemon\/transport\/iroh\/binding\.ts/]);
  t.same(nativeReach([typeOnly, between, binding]), [], 'a type import loads nothing');
  t.same(nativeReach([['daemon/engine/x.ts', value[1]], between, binding]), [], 'the engine may load it');
});
