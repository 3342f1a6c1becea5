// The arguments of `npm run bench`.
import { parseArgs } from 'node:util';

export interface Arguments {
  readonly only: readonly string[];
  readonly json: string | undefined;
  readonly markdown: string | undefined;
  readonly quick: boolean;
  readonly runs: number | undefined;
  readonly list: boolean;
}

export const USAGE =
  'npm run bench -- [--only NAME[,NAME]] [--quick] [--runs N] [--json FILE] [--markdown FILE] [--list]\n';

/** Throws an error with a text for the user when the arguments are wrong. */
export function parse(argv: readonly string[]): Arguments {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      only: { type: 'string', multiple: true },
      json: { type: 'string' },
      markdown: { type: 'string' },
      quick: { type: 'boolean' },
      runs: { type: 'string' },
      list: { type: 'boolean' },
    },
  });
  const runs = values.runs === undefined ? undefined : Number(values.runs);
  if (runs !== undefined && !(Number.isInteger(runs) && runs > 0))
    throw new Error(`--runs ${String(values.runs)}: expected a whole number`);
  return {
    only: (values.only ?? []).flatMap((names) => names.split(',')),
    json: values.json,
    markdown: values.markdown,
    quick: values.quick ?? false,
    runs,
    list: values.list ?? false,
  };
}
