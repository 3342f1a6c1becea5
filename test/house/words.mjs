// Checks that one word is used for a thing (docs/architecture.md, "Words"): words of before the rename are found, with the word to use. A word
// of before the rename that is also used in another sense is not searched for. To run it alone: `node test/house/words.mjs`, which prints
// nothing when there are no problems. This check can be removed when the old words are no longer in use.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import ts from 'typescript';

import { trackedFiles } from './references.mjs';

/** Words in comments, strings, pages and paths of files. */
const PROSE = [
  [/\bdoors?\b/i, 'target socket'],
  [/\bplaces\b/i, "connections (of the server's limit)"],
  [
    /\bpromise broken\b|\bpromised\b|\bbroken promise\b|\bpromise\b[^.\n]{0,20}\b(?:broken|kept)\b/i,
    'expected answer, optimistic open failed',
  ],
  [/\blearnt\b/i, 'protocol cache'],
  [/\bhello memory\b|\banswer(?:s|ed)? from memory\b/i, 'hello cache'],
  [/\b(?:hello|the) race\b|\bverdicts?\b/i, 'protocol detection, detection error'],
  [/\bshel(?:f|ves)\b|\brecipes?\b/i, 'spare pool, spare factory'],
  [/\bremak(?:e|es|ing)\b/i, 'reconnect'],
  [/\bownership\b/i, 'instance lock'],
  [/(?<!socket[ -])\bactivation\b/i, 'socket activation'],
  [/\bpreparations?\b/i, 'pending request, plan'],
  [
    /\bunheard\b|\blast words\b|\boutlives? writes\b/i,
    'bind without listen, captured stderr, drain after a write error',
  ],
  [/\bkept-warm\b|\bkept contexts\b|\bknown contexts\b/i, 'keep warm, clients of a target socket'],
  [
    /\bdistrust\w*\b|\bsigns? of life\b|\bunwell\b|\blet(?:s|ting)? go\b/i,
    'mark stale, health check, last heard, retiring, close',
  ],
  [/\bnot well\b|\bspill\w*\b/i, 'degraded, client buffer limit'],
];

/** Identifiers in the code. */
const NAMES = [
  [/door/i, 'targetSocket'],
  [/^#?places$|Places|PLACES|^Place$/, 'connections'],
  [/^#?reached|Reached/, 'upstream'],
  [/(?<!com)promised|brokenPromise/i, 'expectedAnswer'],
  [/learnt|HelloMemory/i, 'protocolCache, helloCache'],
  [/^race$|^Race|verdict/i, 'detection'],
  [
    /^Rest$|^#?(?:shelf|shelves|recipe|remake)$|^(?:Shelf|Recipe|Remake)/,
    'backoff, sparePool, spareFactory, reconnect',
  ],
  [/^Served|^Asking$|^Asked$|[kK](?:nown|ept)Contexts/, 'clients of a target socket'],
  // `generations`, as a list of the ids of engines, is in the glossary.
  [/[eE]lsewhere|^Generations$/, 'engineUsage, engineDirectory'],
  [/^makeHome$|^(?:Bmuxd)?Home$|[oO]wnership/, 'runtimeDir, instanceLock'],
  [/^#?activation$|^Activation/, 'socketActivation'],
  [/^#?together$|^(?:Together|Settled|Left)$/, 'a word for what is done'],
  [/unheard|^#?unread$|outliveWrites|lastWords/i, 'bindWithoutListen, takeBuffered, capturedStderr'],
  [
    /^Preparations?$|^prepare$|^Ending$|^Report$|keptWarm/,
    'pendingRequests, planStream, shutdown, status, keepWarm',
  ],
  [
    /distrust|^#?(?:prove|prover|proving|proven)(?:At)?$|^Prover$|unwell|^#?letGo$/i,
    'markStale, check, retire',
  ],
  [/spill/i, 'clientBufferLimit'],
];

/** These files contain the old words on purpose. */
const EXEMPT =
  /^(CHANGELOG\.md|test\/house\/words(\.test)?\.(mjs|ts)|package-lock\.json|bench\/RESULTS\.md)$/;
const SUBJECT = /\.(ts|mjs|md|json|toml|service|socket|plist)$/;

function found(rules, text) {
  for (const [word, instead] of rules) {
    const match = word.exec(text);
    if (match !== null) return { word: match[0], instead };
  }
  return undefined;
}

/** The old words in one file, as lines `file:line: reason`. */
export function wordProblems(file, text) {
  const problems = [];
  const say = (line, { word, instead }) =>
    problems.push(`${file}:${line}: '${word}': the word is ${instead}`);
  const inPath = found(PROSE, file.replace(/[/._-]/g, ' '));
  if (inPath !== undefined) say(1, inPath);
  if (!/\.(ts|mjs)$/.test(file)) {
    for (const [at, line] of text.split('\n').entries()) {
      const hit = found(PROSE, line);
      if (hit !== undefined) say(at + 1, hit);
    }
    return problems;
  }
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const lineOf = (at) => source.getLineAndCharacterOfPosition(at).line + 1;
  const names = [];
  const visit = (node) => {
    if (ts.isIdentifier(node) || ts.isPrivateIdentifier(node)) {
      const start = node.getStart(source);
      names.push([start, node.end]);
      const isPromiseRace =
        node.text === 'race' &&
        ts.isPropertyAccessExpression(node.parent) &&
        node.parent.expression.getText(source) === 'Promise';
      const hit = isPromiseRace ? undefined : found(NAMES, node.text);
      if (hit !== undefined) say(lineOf(start), hit);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  // The text without its identifiers: comments and strings.
  let prose = '';
  let at = 0;
  for (const [start, end] of names.sort(([a], [b]) => a - b)) {
    if (start < at) continue;
    prose += text.slice(at, start) + ' '.repeat(end - start);
    at = end;
  }
  prose += text.slice(at);
  for (const [index, line] of prose.split('\n').entries()) {
    if (/^\s*(?:import|export)\b.*\bfrom\b/.test(line)) continue;
    const hit = found(PROSE, line);
    if (hit !== undefined) say(index + 1, hit);
  }
  return problems;
}

/** All problems in the tree at `root`. */
export function checkWords(root) {
  return trackedFiles(root)
    .filter((file) => SUBJECT.test(file) && !EXEMPT.test(file) && !file.includes('/vectors/'))
    .flatMap((file) => wordProblems(file, readFileSync(join(root, file), 'utf8')));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = checkWords(fileURLToPath(new URL('../..', import.meta.url)));
  for (const problem of problems) console.log(problem);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
