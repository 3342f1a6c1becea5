// Entry point of `npm run bench`: the table of measures, which run one after the other, and their results.
import { writeFile } from 'node:fs/promises';
import { textOf } from '../daemon/base/failure.ts';
import { parse, USAGE, type Arguments } from './arguments.ts';
import { bulk } from './measures/bulk.ts';
import { command } from './measures/command.ts';
import { fairness } from './measures/fairness.ts';
import { farAway } from './measures/far-away.ts';
import { firstAnswer } from './measures/first-answer.ts';
import { streamRequests } from './measures/stream-requests.ts';
import { irohBulk } from './measures/iroh-bulk.ts';
import { idle } from './measures/daemon/idle.ts';
import { keystroke } from './measures/keystroke.ts';
import { manyStreams } from './measures/many-streams.ts';
import { memory } from './measures/memory.ts';
import { starts } from './measures/daemon/starts.ts';
import { parsing } from './measures/daemon/parsing.ts';
import { ssh } from './measures/ssh.ts';
import { Bench, type Gap, type Measure, type MeasuredFigure } from './measure.ts';
import { machine, markdown, table, type Result } from './report.ts';

const MEASURES: readonly Measure[] = [
  firstAnswer,
  command,
  farAway,
  ssh,
  streamRequests,
  keystroke,
  bulk,
  irohBulk,
  memory,
  idle,
  starts,
  manyStreams,
  fairness,
  parsing,
];

const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
};

async function measure(asked: Arguments, wanted: readonly Measure[]): Promise<Result> {
  const figures: MeasuredFigure[] = [];
  const gaps: Gap[] = [];
  for (const { name, run } of wanted) {
    const bench = new Bench({
      measure: name,
      quick: asked.quick,
      runs: asked.runs,
      say: (text) => {
        say(`${name}: ${text}`);
      },
    });
    await bench.part('all', () => run(bench));
    figures.push(...bench.figures);
    gaps.push(...bench.gaps);
  }
  return { schema: 1, machine: machine(), quick: asked.quick, figures, gaps };
}

async function main(): Promise<number> {
  let asked: Arguments;
  try {
    asked = parse(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`bench: ${textOf(error)}\n${USAGE}`);
    return 2;
  }
  if (asked.list) {
    for (const { name, about } of MEASURES) process.stdout.write(`${name.padEnd(16)}${about}\n`);
    return 0;
  }
  const unknown = asked.only.filter((name) => !MEASURES.some((row) => row.name === name));
  if (unknown.length > 0) {
    process.stderr.write(`bench: there is no measure ${unknown.join(', ')}; --list shows them\n`);
    return 2;
  }
  const wanted = MEASURES.filter(({ name }) => asked.only.length === 0 || asked.only.includes(name));
  const result = await measure(asked, wanted);
  process.stdout.write(`${table(result)}\n\n${markdown(result)}`);
  if (asked.json !== undefined) await writeFile(asked.json, `${JSON.stringify(result, null, 2)}\n`);
  if (asked.markdown !== undefined) await writeFile(asked.markdown, markdown(result));
  return result.gaps.some(({ kind }) => kind === 'failed') ? 1 : 0;
}

// Started processes end with this process, also after an interrupt.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
// Everything has been stopped; handles that a native binding still holds must not delay the exit.
process.exit(await main());
