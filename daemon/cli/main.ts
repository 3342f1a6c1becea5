// The command line: finds the command in the table, and runs it.
import { asText } from '../errors/text.ts';
import { asFailure } from '../errors/fail.ts';
import { COMMANDS } from './command-table.ts';
import type { Command, CommandContext, Run } from './command.ts';
import { sayOtherVersion } from './daemon-version.ts';
import { commandNamed, help, helpOf } from './help/help.ts';
import { checkArgs, parsed } from './help/parse.ts';
import { roomOf } from './table.ts';
import { showWait } from './terminal.ts';

/** What the command line does not say. */
type Outside = Omit<CommandContext, 'options' | 'args' | 'argsBeforeDashes'>;

/** Runs one command line; resolves to the exit status (docs/bmux-protocol.md, "Exit statuses"). Never rejects. */
export async function main(argv: readonly string[], context: Outside): Promise<number> {
  try {
    const status = await dispatch(argv, context);
    sayOtherVersion(context);
    return status;
  } catch (error) {
    const failure = asFailure(error);
    context.err(asText(failure, 'bmuxd'));
    const failing = COMMANDS.find(({ name }) => name === argv[0])?.failing;
    if (failing !== undefined) context.out(failing);
    if (failure.data.code !== 'version_mismatch') sayOtherVersion(context);
    return failure.data.exitStatus;
  }
}

async function dispatch(argv: readonly string[], context: Outside): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined) {
    context.err(help(COMMANDS, roomOf(context.stderr)));
    return 2;
  }
  if (name === '--help' || name === '-h') {
    context.out(help(COMMANDS, roomOf(context.stdout)));
    return 0;
  }
  if (name === '--version' || name === '-V') {
    context.out(`bmuxd ${context.version}\n`);
    return 0;
  }
  const command = commandNamed(COMMANDS, name);
  const found = parsed(command, rest);
  if (found.options['help'] === true) {
    context.out(helpOf(command, roomOf(context.stdout)));
    return 0;
  }
  checkArgs(command, found);
  const run = await command.load();
  return waiting(command, { ...context, ...found }, run);
}

/** Runs the command, and shows what it waits for until it has something to say. */
async function waiting({ waits }: Command, context: CommandContext, run: Run): Promise<number> {
  if (waits === undefined) return run(context);
  const { out, err, stderr } = context;
  const end = showWait(stderr, waits);
  const after =
    (write: (text: string) => void) =>
    (text: string): void => {
      end();
      write(text);
    };
  try {
    return await run({ ...context, out: after(out), err: after(err) });
  } finally {
    end();
  }
}
