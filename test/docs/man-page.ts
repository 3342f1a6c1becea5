// The man page bmuxd(1), made from the table of commands at each build.
import { EXIT_STATUSES } from '../../daemon/cli/command.ts';
import { COMMANDS } from '../../daemon/cli/command-table.ts';
import { usagesOf } from '../../daemon/cli/help/forms.ts';
import { ABOUT, optionAbout, optionsOf, optionText } from '../../daemon/cli/help/help.ts';
import { packageVersion } from '../../daemon/base/version.ts';

/** The page in the language of man(7). */
export function manPage(): string {
  const lines = [
    `.TH BMUXD 1 "" "bmuxd ${packageVersion()}" "bmuxd"`,
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
    '.SH EXIT STATUS',
    ...Object.entries(EXIT_STATUSES).flatMap(([status, meaning]) => tagged(status, meaning)),
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
