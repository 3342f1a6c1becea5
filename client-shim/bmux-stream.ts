// Entry point of `bmux-stream`. Bundled to one CommonJS file; its way to the first byte loads `node:net` and nothing else.
import { readFileSync } from 'node:fs';
import { Failure, textOf } from '../daemon/base/failure.ts';
import { HELP, parse } from './arguments.ts';
import { bridge } from './bridge.ts';
import { asText } from './failure-text.ts';
import { openStream } from './index.ts';
import { whyLost } from './probe.ts';

/** `version` of package.json, two folders above the bundle. */
function version(): string {
  const parsed: unknown = JSON.parse(readFileSync(`${__dirname}/../../package.json`, 'utf8'));
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed ? String(parsed.version) : '';
}

/** For people. Nothing of stderr is touched on the way to a stream without warnings: it costs time. */
function say(text: string): void {
  // A reader that went away is no reason to crash.
  process.stderr.once('error', () => undefined).write(text);
}

async function main(): Promise<number> {
  const parsed = parse(process.argv.slice(2));
  switch (parsed.type) {
    case 'help':
      process.stdout.write(HELP);
      return 0;
    case 'version':
      process.stdout.write(`bmux-stream ${version()}\n`);
      return 0;
    case 'stream': {
      const { stream, info } = await openStream(parsed.options);
      for (const warning of info.warnings) say(`bmux-stream: ${warning}\n`);
      const { stdin, stdout, env } = process;
      const status = await bridge({ stream, stdin, stdout, whyLost: () => whyLost(info.id, env) });
      // Nothing waits to be written but perhaps warnings; to take all of Node down properly costs 1 ms.
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
    if (error instanceof Failure) {
      say(asText(error, 'bmux-stream'));
      process.exitCode = error.data.exitStatus;
    } else {
      say(`bmux-stream: ${textOf(error)}\n`);
      process.exitCode = 1;
    }
  },
);
