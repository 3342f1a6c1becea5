// Parses the arguments of `bmux-stream` by hand, because loading a parser would take longer than opening the stream.
import type { Failure } from '../daemon/base/failure.ts';
import { exitStatusText } from '../daemon/errors/exit-statuses.ts';
import { fail } from '../daemon/errors/fail.ts';
import type { OpenStreamOptions } from './index.ts';

export const HELP = `Usage: bmux-stream [TARGET] [OPTIONS]

Bridges stdin and stdout to a stream of a bmux server, through bmuxd. The Hello
has been answered on it.

  --scope SCOPE       normal (default) or recovery_inspection: no policies
  --raw               check no policy
  --if-running        exit with status 4 when no server runs there
  --client-name NAME  label for the server's debug log
  --epoch 3|4         the wire epoch that this client speaks (or the server's)
  --build-of PATH     executable whose build the stale-build policy compares
  --help, --version

${exitStatusText().replace(/(.{1,79}[;.])(?: |$)/g, '$1\n')}`;

/** The parsed command line. */
export type Parsed =
  | { readonly type: 'stream'; readonly options: OpenStreamOptions }
  | { readonly type: 'help' }
  | { readonly type: 'version' };

type Mutable = { -readonly [K in keyof OpenStreamOptions]: OpenStreamOptions[K] };

/** Throws the `usage` failure that names the flag. */
export function parse(argv: readonly string[]): Parsed {
  const options: Mutable = {};
  const rest = [...argv];
  let flags = true;
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (!flags || !arg.startsWith('-') || arg === '-') {
      if (options.target !== undefined) throw usage(`unexpected argument '${arg}'`);
      options.target = arg;
      continue;
    }
    const equals = arg.indexOf('=');
    const name = equals < 0 ? arg : arg.slice(0, equals);
    const given = equals < 0 ? undefined : arg.slice(equals + 1);
    if (given !== undefined && !VALUED.has(name)) throw usage(`${name} takes no value`);
    switch (name) {
      case '--':
        flags = false;
        break;
      case '--help':
      case '-h':
        return { type: 'help' };
      case '--version':
      case '-V':
        return { type: 'version' };
      case '--raw':
        options.policy = false;
        break;
      case '--if-running':
        options.ifRunning = true;
        break;
      case '--scope': {
        const scope = given ?? rest.shift();
        if (scope !== 'normal' && scope !== 'recovery_inspection')
          throw usage('--scope: expected normal or recovery_inspection');
        options.scope = scope;
        break;
      }
      case '--client-name':
        options.clientName = valueOf(name, given ?? rest.shift());
        break;
      case '--epoch': {
        const epoch = given ?? rest.shift();
        if (epoch !== '3' && epoch !== '4') throw usage('--epoch: expected 3 or 4');
        options.contract = { epoch: epoch === '3' ? 3 : 4 };
        break;
      }
      case '--build-of':
        options.buildOf = valueOf(name, given ?? rest.shift());
        break;
      default:
        throw usage(`unknown option ${name}`);
    }
  }
  return { type: 'stream', options };
}

const VALUED: ReadonlySet<string> = new Set(['--scope', '--client-name', '--epoch', '--build-of']);

function valueOf(name: string, value: string | undefined): string {
  if (value === undefined) throw usage(`${name} needs a value`);
  return value;
}

function usage(why: string): Failure {
  return fail('usage', { why: `bmux-stream: ${why}`, command: 'bmux-stream' });
}
