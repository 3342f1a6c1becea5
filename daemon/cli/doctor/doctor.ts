// `bmuxd doctor`: examines the installation, the configuration and each target, and says one remedy for each finding.
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { causesToShow, printable, remedyWithCode } from '../../errors/text.ts';
import { textOf } from '../../base/failure.ts';
import { outputOf } from '../../base/process/output-of.ts';
import { withoutCredentials, withoutTokens } from '../../base/redact.ts';
import { fail } from '../../errors/fail.ts';
import type { CommandContext, Run } from '../command.ts';
import { logs } from '../service/logs.ts';
import { examine } from './examine.ts';
import type { Row } from './row.ts';

/** ms that a program of the system may take. */
const PROGRAM_MS = 3000;
/** Last lines of the log in a bundle. */
const LOG_LINES = '500';

export const doctor: Run = async (context) => {
  const { env, cwd, version, args, options, out } = context;
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
  out(options['json'] === true ? `${JSON.stringify(report)}\n` : readable(rows));
  const bundle = options['bundle'];
  if (typeof bundle === 'string') await writeBundle(resolve(cwd, bundle), report, context);
  return findings.length === 0 ? 0 : 1;
};

/** The output of a program, also of one that fails; undefined when it cannot be run. */
async function execute(command: string, args: readonly string[]): Promise<string | undefined> {
  const { stdout, error } = await outputOf(command, args, { ms: PROGRAM_MS });
  return typeof error?.code === 'string' ? undefined : stdout;
}

function readable(rows: readonly Row[]): string {
  const areas = [...new Set(rows.map(({ area }) => area))];
  const width = Math.max(...rows.map(({ what }) => what.length));
  const lines = areas.flatMap((area) => [
    area,
    ...rows.filter((row) => row.area === area).flatMap((row) => lineOf(row, width)),
  ]);
  const count = rows.filter(({ failure }) => failure !== undefined).length;
  const end = count === 0 ? 'Nothing is wrong.' : count === 1 ? '1 finding.' : `${String(count)} findings.`;
  return printable(`${[...lines, end].join('\n')}\n`);
}

function lineOf({ what, detail, ms, failure }: Row, width: number): string[] {
  const time = ms === undefined ? '' : ` (${ms < 10 ? ms.toFixed(1) : String(Math.round(ms))} ms)`;
  const left = `  ${failure === undefined ? ' ' : '!'} ${what.padEnd(width)}  `;
  const [first = '', ...more] = detail.split('\n');
  const indent = ' '.repeat(left.length);
  const lines = [`${left}${first}${time}`, ...more.map((line) => `${indent}${line}`)];
  if (failure === undefined) return lines;
  const causes = causesToShow(failure).map((cause) => `${indent}caused by: ${cause}`);
  return [...lines, ...causes, `${indent}${remedyWithCode(failure)}`];
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
