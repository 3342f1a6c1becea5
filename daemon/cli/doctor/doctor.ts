// `bmuxd doctor`: examines the installation, the configuration and each target, and says one remedy for each finding.
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { causesToShow, printable, remedyWithCode } from '../../errors/text.ts';
import { textOf } from '../../base/failure.ts';
import { outputOf } from '../../base/process/output-of.ts';
import { withoutCredentials, withoutTokens } from '../../base/redact.ts';
import { fail } from '../../errors/fail.ts';
import type { CommandContext, Run } from '../command.ts';
import { wrapped } from '../help/columns.ts';
import { logs } from '../service/logs.ts';
import { displayWidth, roomOf } from '../table.ts';
import { examine } from './examine.ts';
import type { ReportRow } from './row.ts';

/** ms that a program of the system may take. */
const PROGRAM_MS = 3000;
/** Columns of the longest name that the others are aligned with. */
const MAX_NAME = 24;
/** Where less is left for the texts beside the names, those that do not fit stand below them. */
const NARROWEST = 30;
/** Columns before a text below its name. */
const BELOW = 6;
/** Last lines of the log in a bundle. */
const LOG_LINES = '500';

export const doctor: Run = async (context) => {
  const { env, cwd, version, args, options, out, stdout } = context;
  const { runProbe } = await import('../../control/probe/probe-process.ts');
  const rows = await examine({
    env,
    cwd,
    version,
    platform: process.platform,
    target: args[0],
    execute,
    probe: (task) => runProbe(task, env),
  });
  const findings = rows.filter(({ failure }) => failure !== undefined);
  const report = { schema: 1, version, healthy: findings.length === 0, rows };
  out(options['json'] === true ? `${JSON.stringify(report)}\n` : readable(rows, roomOf(stdout)));
  const bundle = options['bundle'];
  if (typeof bundle === 'string') await writeBundle(resolve(cwd, bundle), report, context);
  return findings.length === 0 ? 0 : 1;
};

/** The output of a program, also of one that fails; undefined when it cannot be run. */
async function execute(command: string, args: readonly string[]): Promise<string | undefined> {
  const { stdout, error } = await outputOf(command, args, { ms: PROGRAM_MS });
  return typeof error?.code === 'string' ? undefined : stdout;
}

/** The report for people. `room`: the width of the terminal. */
export function readable(rows: readonly ReportRow[], room: number): string {
  const areas = [...new Set(rows.map(({ area }) => area))];
  // A longer name widens its own row alone.
  const widths = rows.map(({ what }) => displayWidth(what)).filter((width) => width <= MAX_NAME);
  const layout = { width: Math.max(...widths), room };
  const lines = areas.flatMap((area) => [
    area,
    ...rows.filter((row) => row.area === area).flatMap((row) => lineOf(row, layout)),
  ]);
  const count = rows.filter(({ failure }) => failure !== undefined).length;
  const end = count === 0 ? 'Nothing is wrong.' : count === 1 ? '1 finding.' : `${String(count)} findings.`;
  return printable(`${[...lines, end].join('\n')}\n`);
}

function lineOf(
  { what, detail, ms, failure }: ReportRow,
  { width, room }: { readonly width: number; readonly room: number },
): string[] {
  const time = ms === undefined ? '' : ` (${ms < 10 ? ms.toFixed(1) : String(Math.round(ms))} ms)`;
  const left = `  ${failure === undefined ? ' ' : '!'} ${what}${' '.repeat(Math.max(0, width - displayWidth(what)))}`;
  const [first = '', ...more] = detail.split('\n');
  const failed = failure === undefined ? [] : causesToShow(failure).map((cause) => `caused by: ${cause}`);
  const remedy = failure === undefined ? [] : [remedyWithCode(failure)];
  const said = [`${first}${time}`, ...more, ...failed, ...remedy];
  const beside = room - width - BELOW;
  const isNarrow = beside < NARROWEST && (said.length > 1 || displayWidth(said[0] ?? '') > beside);
  const indent = ' '.repeat(isNarrow ? BELOW : width + BELOW);
  const texts = said.flatMap((line) => wrapped(line, Math.max(1, room - indent.length)));
  // On a terminal a long name has a line of its own.
  const isAlone = isNarrow || (room < Infinity && displayWidth(what) > width);
  const [start = '', ...below] = isAlone ? ['', ...texts] : texts;
  return [`${left}  ${start}`.trimEnd(), ...below.map((line) => `${indent}${line}`)];
}

/** A file for a report of a bug: the rows, and the last lines of the log. Secrets are left out; names of hosts and paths are in it. */
async function writeBundle(path: string, report: unknown, context: CommandContext): Promise<void> {
  const log: string[] = [];
  const options = { json: true, lines: LOG_LINES };
  await logs({ ...context, args: [], options, out: (line) => log.push(hidden(line)) }).catch(
    (error: unknown) => {
      log.push(textOf(error));
    },
  );
  const text = `${JSON.stringify({ report, log }, null, 2)}\n`;
  await writeFile(path, text, { mode: 0o600 }).catch((error: unknown) => {
    throw fail('bundle_unwritable', { path, why: textOf(error) }, error);
  });
  context.err(`bmuxd: wrote ${path}; read it before you send it: it names hosts, users and paths\n`);
}

function hidden(line: string): string {
  const plain = withoutCredentials(line.trimEnd());
  try {
    return withoutTokens(plain).trimEnd();
  } catch {
    return plain;
  }
}
