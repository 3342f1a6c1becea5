// Tests what is made from the table of commands: help, suggestions, checks of arguments, and what a shell completes.
import t from 'tap';
import { HELP } from '../../client-shim/arguments.ts';
import { COMMANDS } from '../../daemon/cli/command-table.ts';
import { argsOf, misfit, usagesOf } from '../../daemon/cli/help/forms.ts';
import { commandNamed, help, helpOf } from '../../daemon/cli/help/help.ts';
import { checkArgs, parsed } from '../../daemon/cli/help/parse.ts';
import { complete } from '../../daemon/cli/help/complete.ts';
import { failureOf } from '../policy/failure-of.ts';

t.test('every help fits into 80 columns and names every option', async (t) => {
  for (const text of [HELP, help(COMMANDS), ...COMMANDS.map((command) => helpOf(command))])
    for (const line of text.split('\n')) t.ok(line.length <= 80, line);
  for (const { name } of COMMANDS) t.match(help(COMMANDS), new RegExp(`^  ${name}\\b`, 'm'));
  for (const command of COMMANDS)
    for (const option of Object.keys(command.options)) t.ok(helpOf(command).includes(`--${option}`), option);
});

t.test(
  'on a narrow terminal a help is broken between words; only what may be copied is longer',
  async (t) => {
    for (const room of [60, 40]) {
      for (const text of [help(COMMANDS, room), ...COMMANDS.map((command) => helpOf(command, room))])
        for (const line of text.split('\n'))
          t.ok(line.length <= room || /^ {2,4}\S|^ +\S+$/.test(line), `${String(room)}: ${line}`);
      t.ok(help(COMMANDS, room).includes('keeps connections'));
    }
    t.equal(help(COMMANDS, 200), help(COMMANDS));
  },
);

t.test('every example is a call that the table takes', async (t) => {
  for (const { name, examples } of COMMANDS) {
    t.ok(examples.length > 0, name);
    for (const [line] of examples) {
      const [, call = ''] = /\bbmuxd ([^>)|&]+)/.exec(line) ?? [];
      const [word = '', ...args] = call.trim().split(' ');
      t.equal(word, name, line);
      const command = commandNamed(COMMANDS, word);
      t.doesNotThrow(() => {
        checkArgs(command, parsed(command, args));
      }, line);
    }
  }
});

t.test('forms', async (t) => {
  const trust = { name: 'trust', forms: ['list', 'add HOST', 'remove HOST'] };
  const streams = { name: 'streams', forms: ['', 'end ID'] };
  const exec = { name: 'exec', forms: ['TARGET -- COMMAND [ARG...]'] };
  const some = { name: 'some', forms: ['on|off [WHAT]'] };
  t.same([trust, streams, exec].map(argsOf), ['list | add HOST | remove HOST', '[end ID]', exec.forms[0]]);
  t.same(usagesOf(streams), ['bmuxd streams', 'bmuxd streams end ID']);
  const rows: [command: typeof trust, args: string, why: string | undefined][] = [
    [trust, 'list', undefined],
    [trust, 'add h', undefined],
    [trust, 'add', 'HOST is missing: write'],
    [trust, 'add h i', "unexpected argument 'i'"],
    [trust, 'ad h', 'or `bmuxd trust remove HOST`; did you mean add?'],
    [trust, '', 'write `bmuxd trust list`, '],
    [streams, '', undefined],
    [streams, 'end 1', undefined],
    [streams, 'kill 1', 'write `bmuxd streams` or `bmuxd streams end ID`'],
    [streams, 'end', 'ID is missing'],
    [exec, 't c a b', undefined],
    [exec, 't c', undefined],
    [exec, 't', 'COMMAND is missing: write `bmuxd exec TARGET -- COMMAND [ARG...]`'],
    [some, 'off', undefined],
    [some, 'on x', undefined],
    [some, '', '`on` or `off` is missing'],
    [some, 'of', 'did you mean on or off'],
  ];
  for (const [command, args, why] of rows) {
    const found = misfit(command, args.split(' ').filter(Boolean));
    if (why === undefined) t.equal(found, undefined, args);
    else t.ok(found?.includes(why), `${command.name} ${args}: ${String(found)}`);
  }
});

t.test('wrong options and commands are told with what may have been meant', async (t) => {
  t.match(await failureOf(() => commandNamed(COMMANDS, 'staus')), {
    code: 'usage',
    detail: /'staus'; did you mean status\b/,
    remedy: 'Run `bmuxd --help`.',
  });
  const of = (name: string, ...args: string[]) =>
    failureOf(() => {
      const command = commandNamed(COMMANDS, name);
      checkArgs(command, parsed(command, args));
    });
  t.match(await of('status', '--jsno'), {
    detail: 'bmuxd status: there is no option --jsno; did you mean --json?',
    remedy: 'Run `bmuxd status --help`.',
  });
  t.match(await of('status', '-z'), { detail: 'bmuxd status: there is no option -z' });
  t.match(await of('env', 'x', '--shell', 'bsh'), { detail: /'bsh' is none of bash, .*did you mean bash/ });
  for (const args of [[], ['--', 'ls'], ['--', 'ls', '-l']]) {
    const why = args.length === 0 ? /TARGET is missing/ : /a target is missing/;
    t.match(await of('exec', ...args), { detail: why }, args.join(' '));
  }
});

t.test('what may come next', async (t) => {
  const known = {
    targets: async () =>
      [
        ['prod', 'tls'],
        ['preview', 'iroh'],
      ] as const,
    streams: async () => [['g-1', 'prod']] as const,
  };
  const next = async (line: string) => {
    const { candidates, instead } = await complete(line.split(' '), COMMANDS, known);
    return instead ?? candidates.map(([word]) => word).join(' ');
  };
  const rows: [line: string, next: string | number][] = [
    ['tru', 'trust'],
    ['exec ', 'prod preview'],
    ['exec pr', 'prod preview'],
    ['exec prod ', '--'],
    ['exec prod -- ', 4],
    ['exec prod -- bmux ls', 4],
    ['exec -- -dash -- ', 5],
    ['exec -- p', 'prod preview'],
    ['env prod --sh', '--shell'],
    ['env prod --shell ', 'bash zsh fish json'],
    ['env --shell zsh p', 'prod preview'],
    ['warm prod ', ''],
    ['warm -- pre', 'preview'],
    ['trust ', 'list add remove'],
    ['trust add prod ', ''],
    ['streams end ', 'g-1'],
    ['meta write --executable ', 'files'],
    ['status --wait ', ''],
    ['completion ', 'bash zsh fish'],
    ['help ta', 'targets'],
    ['nonsense ', ''],
  ];
  for (const [line, expected] of rows) t.equal(await next(line), expected, line);
  const { candidates } = await complete([''], COMMANDS, known);
  t.same(
    candidates,
    COMMANDS.map(({ name, about }) => [name, about]),
  );
});

t.test('a word that other programs use suggests one command', async (t) => {
  const seen = new Set(COMMANDS.map(({ name }) => name));
  for (const { name, otherNames = [] } of COMMANDS)
    for (const word of otherNames) {
      t.notOk(seen.has(word), word);
      seen.add(word);
      t.match((await failureOf(() => commandNamed(COMMANDS, word))).detail, `did you mean ${name}?`);
    }
});
