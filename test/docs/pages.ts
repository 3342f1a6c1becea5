// Documentation that is generated from data: settings, errors, commands, exit statuses. The text around it is written by hand.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { COMMANDS } from '../../daemon/cli/command-table.ts';
import { argsOf } from '../../daemon/cli/help/forms.ts';
import { ENV_WHITELIST } from '../../daemon/api/caller-env.ts';
import { ROUTE_LIST } from '../../daemon/api/openapi/routes.ts';
import { METRICS, type MetricRow } from '../../daemon/api/metrics/table.ts';
import { ERROR_CLASSES } from '../../daemon/base/failure.ts';
import { EXIT_STATUSES } from '../../daemon/errors/exit-statuses.ts';
import { REGISTRY, type ErrorRow } from '../../daemon/errors/registry.ts';
import { SETTINGS, takenBy, TARGET_SETTINGS, type SettingRow } from '../../daemon/config/settings/table.ts';
import { STRICTER } from '../transport/tls/chains/cases.ts';
import { repositoryRoot } from '../real/index.ts';

/** A generated part of a page: the text between its two marks is never edited by hand. */
type Section =
  | 'error classes'
  | 'commands'
  | 'settings'
  | 'target settings'
  | 'errors'
  | 'environment whitelist'
  | 'events'
  | 'exit statuses'
  | 'messages'
  | 'metrics'
  | 'stricter chains'
  | 'routes';

/** The text of each section. */
function sections(): Readonly<Record<Section, string>> {
  const errors: [string, ErrorRow][] = Object.entries(REGISTRY);
  const metrics: [string, MetricRow][] = Object.entries(METRICS);
  return {
    commands: table(
      ['command', 'what it does'],
      COMMANDS.map((command) => [
        code(`bmuxd ${command.name} ${argsOf(command)}`.trimEnd()),
        `${text(command.about)}${Object.entries(command.options)
          .map(([name, { value }]) => ` ${code(`--${name}${value === undefined ? '' : ` ${value}`}`)}`)
          .join(',')}`,
      ]),
    ),
    settings: settingsTable(SETTINGS),
    'target settings': settingsTable(TARGET_SETTINGS),
    'environment whitelist': unformatted(
      `Of the environment these are read, and nothing else: ${ENV_WHITELIST.map(code).join(', ')}.`,
    ),
    routes: table(
      ['request', 'answer'],
      ROUTE_LIST.map(({ name, status, type, about }) => [
        code(name),
        `${String(status)}${type === undefined ? '' : `, ${code(type)}`}: ${text(about)}`,
      ]),
    ),
    metrics: table(
      ['name', 'type', 'labels', 'what it is'],
      metrics.map(([name, { type, labels = {}, help }]) => [code(name), type, labelsOf(labels), text(help)]),
    ),
    'exit statuses': table(
      ['exit status', 'meaning'],
      Object.entries(EXIT_STATUSES).map(([status, meaning]) => [status, text(meaning)]),
    ),
    messages: table(
      ['what you see', 'what it means', 'what to do'],
      errors
        .map(([, { text: detail, class: kind, remedy }]) => [
          (detail.split('\n')[0] ?? '').replace(/\{\w+\}/g, '…'),
          ERROR_CLASSES[kind],
          remedy.replace(/\{\w+\}/g, '…'),
        ])
        // A text that is wholly a value says nothing here.
        .filter(([detail]) => detail !== '…')
        .sort(([one = ''], [other = '']) => (one.toLowerCase() < other.toLowerCase() ? -1 : 1))
        .map((cells) => cells.map(text)),
    ),
    'stricter chains': unformatted([...STRICTER.values()].map((what) => `- ${what}`).join('\n')),
    events: unformatted(`${eventTypes().map(code).join(', ')}.`),
    'error classes': table(
      ['class', 'what it means'],
      Object.entries(ERROR_CLASSES).map(([name, meaning]) => [code(name), text(meaning)]),
    ),
    errors: table(
      ['code', 'class', 'HTTP', 'exit', 'what happened', 'what to do'],
      errors.map(([name, { class: kind, status, exit, text: detail, remedy }]) => [
        code(name),
        code(kind),
        String(status),
        String(exit),
        text(detail),
        text(remedy),
      ]),
    ),
  };
}

/** Labels with their values; of more than five the first three. */
function labelsOf(labels: NonNullable<MetricRow['labels']>): string {
  const all = Object.entries(labels).map(([label, values]) => {
    if (values === undefined) return code(label);
    const shown = values.length > 5 ? [...values.slice(0, 3).map(code), 'and others'] : values.map(code);
    return `${code(label)}: ${shown.join(', ')}`;
  });
  return all.join('<br>');
}

/** The members of `BrokerEvent['type']`, read from the source because a type has no value at run time. */
function eventTypes(): string[] {
  const source = readFileSync(join(repositoryRoot(), 'daemon/api/answers.ts'), 'utf8');
  const union = /interface BrokerEvent \{[\s\S]*?readonly type:([^;]*);/.exec(source)?.[1] ?? '';
  return [...union.matchAll(/'([^']+)'/g)].map(([, type = '']) => type);
}

function settingsTable(rows: readonly SettingRow[]): string {
  return table(
    ['key', 'takes', 'default', 'what it does'],
    rows.map((row) => [code(row.name), text(takenBy(row)), code(JSON.stringify(row.default)), text(row.doc)]),
  );
}

/** Rows without padding: a formatter would pad each to the width of the widest. */
function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const all = [line(header), line(header.map(() => '---')), ...rows.map(line)];
  return unformatted(all.join('\n'));
}

function unformatted(markdown: string): string {
  return `<!-- oxfmt-ignore-start -->\n${markdown}\n<!-- oxfmt-ignore-end -->`;
}

/** Plain text in a cell. Code spans of the source stay code. */
function text(plain: string): string {
  return plain
    .split(/(`[^`]*`)/)
    .map((part) => (part.startsWith('`') ? part : part.replace(/[<>*_[\]\\]/g, String.raw`\$&`)))
    .join('')
    .replaceAll('|', String.raw`\|`)
    .replaceAll('\n', '<br>');
}

function code(plain: string): string {
  return `\`${plain.replaceAll('|', String.raw`\|`)}\``;
}

const MARKED = /(<!-- made from data: ([a-z ]+) -->\n)[\s\S]*?(\n<!-- end -->)/g;

/** Returns `page` with the text between its marks generated again. Throws for a mark that no section has. */
export function regenerated(page: string): string {
  const made: Readonly<Record<string, string | undefined>> = sections();
  return page.replace(MARKED, (_whole, begin: string, name: string, end: string) => {
    const section = made[name];
    if (section === undefined) throw new Error(`there is no section '${name}'`);
    return `${begin}\n${section}\n${end}`;
  });
}

/** The pages with such sections, relative to the repository's root. */
export const PAGES = [
  'README.md',
  'docs/bmux-protocol.md',
  'docs/control-socket.md',
  'docs/settings.md',
  'docs/errors.md',
  'docs/metrics.md',
  'docs/targets.md',
  'docs/troubleshooting.md',
] as const;
