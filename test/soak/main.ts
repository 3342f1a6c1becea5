// Entry point of `npm run soak`: runs every property for a long time. `--runs N` replaces the counts, `--only NAME[,NAME]` selects by prefix.
import { parseArgs } from 'node:util';
import { runSoak } from './run.ts';
import { SOAKS } from './soaks.ts';

const USAGE = 'npm run soak -- [--only NAME[,NAME]] [--runs N] [--list]\n';

async function main(): Promise<number> {
  let values;
  try {
    const options = {
      only: { type: 'string' },
      runs: { type: 'string' },
      list: { type: 'boolean' },
    } as const;
    ({ values } = parseArgs({ options }));
  } catch (error) {
    process.stderr.write(`soak: ${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
    return 2;
  }
  if (values.list === true) {
    for (const { name, inputs } of SOAKS) process.stdout.write(`${name.padEnd(44)}${String(inputs)}\n`);
    return 0;
  }
  const runs = values.runs === undefined ? undefined : Number(values.runs);
  if (runs !== undefined && !(Number.isInteger(runs) && runs > 0)) {
    process.stderr.write(`soak: --runs ${String(values.runs)}: expected a whole number\n${USAGE}`);
    return 2;
  }
  const names = values.only?.split(',');
  const wanted = SOAKS.filter(({ name }) => names?.some((start) => name.startsWith(start)) ?? true);
  if (wanted.length === 0) {
    process.stderr.write(`soak: nothing is called ${String(values.only)}; --list shows what there is\n`);
    return 2;
  }
  const failed: string[] = [];
  for (const soak of wanted) {
    try {
      const { name, inputs, seconds, memory } = await runSoak(soak, runs ?? soak.inputs, (text) => {
        process.stderr.write(`${text}\n`);
      });
      const mb = memory
        .map(({ before, after }) => `${before.toFixed(0)} -> ${after.toFixed(0)} MB`)
        .join(', ');
      process.stdout.write(`ok ${name}: ${String(inputs)} inputs in ${seconds.toFixed(0)} s, ${mb}\n`);
    } catch (error) {
      failed.push(soak.name);
      const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      process.stdout.write(`FAILED ${soak.name}: ${text}\n`);
    }
  }
  process.stdout.write(`${String(wanted.length - failed.length)} held, ${String(failed.length)} failed\n`);
  return failed.length === 0 ? 0 : 1;
}

// Child processes end with this process, also after an interrupt.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
process.exit(await main());
