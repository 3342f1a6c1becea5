// The man pages, made at each build: bmuxd(1) from the table of commands, bmux-stream(1) from its help.
import { HELP } from '../../client-shim/arguments.ts';
import { EXIT_STATUSES } from '../../daemon/errors/exit-statuses.ts';
import { COMMANDS } from '../../daemon/cli/command-table.ts';
import { usagesOf } from '../../daemon/cli/help/forms.ts';
import { ABOUT, optionAbout, optionsOf, optionText } from '../../daemon/cli/help/help.ts';
import { packageVersion } from '../../daemon/base/version.ts';

/** The pages in the language of man(7), by their files. */
export function manPages(): Readonly<Record<string, string>> {
  return { 'bmuxd.1': bmuxdPage(), 'bmux-stream.1': streamPage() };
}

function streamPage(): string {
  const [usage = '', about = ''] = HELP.split('\n\n');
  const options = [...HELP.matchAll(/^ {2}(-\S.*?)(?: {2,}(.*))?$/gm)];
  const lines = [
    head('bmux-stream'),
    '.SH NAME',
    roff('bmux-stream - a stream of a bmux server on stdin and stdout, through bmuxd'),
    '.SH SYNOPSIS',
    roff(usage.replace('Usage: ', '')),
    '.SH DESCRIPTION',
    roff(about),
    '.SH OPTIONS',
    ...options.flatMap(([, tag = '', text = '']) => tagged(tag, text)),
    ...exitStatuses(),
    '.SH SEE ALSO',
    roff('bmuxd(1); the pages in docs/ of the package: control-socket.md, stream-ends.md.'),
  ];
  return `${lines.join('\n')}\n`;
}

function head(name: string): string {
  return `.TH ${roff(name.toUpperCase())} 1 "" "bmuxd ${packageVersion()}" "bmuxd"`;
}

function exitStatuses(): string[] {
  const rows = Object.entries(EXIT_STATUSES);
  return ['.SH EXIT STATUS', ...rows.flatMap(([status, meaning]) => tagged(status, meaning))];
}

function bmuxdPage(): string {
  const lines = [
    head('bmuxd'),
    '.SH NAME',
    roff('bmuxd - connection broker for bmux'),
    '.SH SYNOPSIS',
    '.B bmuxd',
    '.I COMMAND',
    '[\\fIOPTIONS\\fR]',
    '.SH DESCRIPTION',
    roff(ABOUT),
    '.SH COMMANDS',
    ...COMMANDS.flatMap((command) => [
      '.SS',
      roff(usagesOf(command).join(' | ')),
      roff(`${command.about}.`),
      ...optionsOf(command)
        .filter(([name]) => name !== 'help')
        .flatMap(([name, row]) => tagged(optionText(name, row), optionAbout(row))),
      ...command.examples.flatMap(([line, about]) => ['.PP', `${roff(about)}:`, ...literal(line)]),
      ...Object.entries(command.exits ?? {}).flatMap(([status, meaning], index) => [
        ...(index === 0 ? ['.PP', 'Exit status:'] : []),
        ...tagged(status, meaning),
      ]),
    ]),
    ...exitStatuses(),
    '.SH SEE ALSO',
    roff(
      '`bmuxd help COMMAND`; the pages in docs/ of the package: settings.md, errors.md, control-socket.md.',
    ),
  ];
  return `${lines.join('\n')}\n`;
}

function tagged(tag: string, text: string): string[] {
  return ['.TP', `.B ${roff(tag)}`, roff(text)];
}

function literal(line: string): string[] {
  return ['.PP', '.RS', '.nf', roff(line), '.fi', '.RE'];
}

/** Plain text, in which no character has a meaning for roff. */
function roff(text: string): string {
  return text
    .replaceAll('\\', String.raw`\e`)
    .replaceAll('-', String.raw`\-`)
    .replaceAll("'", String.raw`\(aq`)
    .replaceAll('`', String.raw`\(ga`)
    .replaceAll('~', String.raw`\(ti`)
    .replaceAll('^', String.raw`\(ha`)
    .replace(/^\./, String.raw`\&.`);
}
