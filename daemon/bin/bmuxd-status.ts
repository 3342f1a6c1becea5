// Entry point of `bmuxd status`.
import { askEarly, soonAnswer } from '../cli/status/early.ts';

async function run(): Promise<void> {
  const asked = await askEarly(process.argv, process.env);
  const { Output } = await import('./output.ts');
  const output = new Output(false);
  if (asked !== undefined) {
    const { usualText } = await import('../cli/status/usual.ts');
    const answer = await soonAnswer(asked);
    const text =
      answer === undefined ? undefined : usualText(answer, process.argv[3] === '--json', process.stdout);
    if (text !== undefined) {
      process.stdout.write(text);
      output.end(0);
      return;
    }
  }
  const { runProgram } = await import('./program.ts');
  await runProgram(output);
}

void run();
