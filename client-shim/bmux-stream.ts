// Entry point of `bmux-stream`, bundled to one CommonJS file. Until the first byte it loads no module but `node:net`.
import { readFileSync } from 'node:fs';
import { asFailure } from '../daemon/errors/fail.ts';
import { keepBlocking } from '../daemon/base/node-internals.ts';
import { openNoDebugger } from '../daemon/base/process/signals.ts';
import { HELP, parse } from './arguments.ts';
import { bridge } from './bridge.ts';
import { asText } from '../daemon/errors/text.ts';
import { openStream } from './index.ts';
import { WaitingLine } from './waiting-line.ts';

/** `version` of package.json, two folders above the bundle. */
function version(): string {
  const parsed: unknown = JSON.parse(readFileSync(`${__dirname}/../../package.json`, 'utf8'));
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed ? String(parsed.version) : '';
}

/** Writes a text to stderr. A stream without warnings never touches stderr, because creating it takes time. */
function say(text: string): void {
  // A closed stderr must not crash the process.
  stderr().write(text);
}

function stderr(): NodeJS.WriteStream {
  const { stderr } = process;
  keepBlocking(stderr);
  return stderr.once('error', () => undefined);
}

async function main(): Promise<number> {
  openNoDebugger();
  const parsed = parse(process.argv.slice(2));
  switch (parsed.type) {
    case 'help':
      process.stdout.write(HELP);
      return 0;
    case 'version':
      process.stdout.write(`bmux-stream ${version()}\n`);
      return 0;
    case 'stream': {
      const { options } = parsed;
      const line = new WaitingLine({ terminal: stderr, target: options.target });
      const { stream, info } = await openStream({ ...options, onWaiting: line.show }).finally(() => {
        line.end();
      });
      for (const warning of info.warnings) say(`bmux-stream: ${warning}\n`);
      const { stdin, stdout } = process;
      const status = await bridge({ stream, stdin, stdout });
      // Without warnings no output is pending, and `process.exit` saves 1 ms of Node's regular shutdown.
      if (info.warnings.length === 0) process.exit(status);
      return status;
    }
  }
}

main().then(
  (status) => {
    process.exitCode = status;
  },
  (error: unknown) => {
    const failure = asFailure(error);
    say(asText(failure, 'bmux-stream'));
    process.exitCode = failure.data.exitStatus;
  },
);
