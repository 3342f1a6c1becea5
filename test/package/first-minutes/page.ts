// The page of a session, and what two sessions have in common.
import type { Typed } from './session.ts';

const HEAD = `# The first ten minutes

What a new user types and sees, from the package alone: an empty home but for bmux's own config, and a real bmux server 50 ms away behind a TLS gateway.
This page is made by a script, and a test compares it: \`node dist/test/package/first-minutes/generate.js\`.`;

export function pageOf(session: readonly Typed[]): string {
  const parts = session.map(({ step, lines }) => {
    const typed = lines.flatMap(({ line, printed }) => {
      const isHidden = printed === '' || (step.hidden === true && line.startsWith('npm '));
      return [`$ ${line}`, ...(isHidden ? [] : [printed])];
    });
    const block = typed.length === 0 ? [] : [`\`\`\`console\n${typed.join('\n')}\n\`\`\``];
    return [step.text, ...block, ...(step.after === undefined ? [] : [step.after])].join('\n\n');
  });
  return `${[HEAD, ...parts].join('\n\n')}\n`;
}

/**
 * A page without what differs from run to run and from machine to machine: numbers, times, ids, certificates of the system, zstd, and a
 * change of the network, as another test makes it beside this one.
 */
export function comparable(page: string): string[] {
  return page
    .replace(/^packages\n(?: .*\n)+/m, '')
    .replace(/^(?:Nothing is wrong|1 finding)\.$/m, '')
    .replace(/^! engine (?:.+\n)*?.*\[zstd_unavailable\]\n\n/m, '')
    .replace(/^(bmuxd \S+: )degraded/m, '$1ready')
    .split('\n')
    .filter((line) => !/^ +(?:roots |npm |node |bmux +(?:\d|told))/.test(line))
    .filter((line) => !line.endsWith(' what=network'))
    .map((line) => VARYING.reduce((text, [what, word]) => text.replaceAll(what, word), line));
}

const VARYING: readonly (readonly [RegExp, string])[] = [
  [/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, 'UUID'],
  [/\bm[a-z0-9]{7}(?:[a-z0-9]{2})?\b/g, 'ENGINE'],
  [/\b[a-z0-9]{2,8}-\d+\b/g, 'ID'],
  [/\d+(?:[.:-]\d+)*/g, 'N'],
  [/\bN m?s\b/g, 'TIME'],
  [/ +/g, ' '],
];
