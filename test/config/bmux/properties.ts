// Properties that must hold for every config file. Each takes the number of runs, so that the soak can run them longer.
import fc from 'fast-check';
import { Failure } from '../../../daemon/base/failure.ts';
import { bmuxPaths } from '../../../daemon/base/paths.ts';
import { composeConfig } from '../../../daemon/config/bmux/compose.ts';
import { parseSettings } from '../../../daemon/config/settings/load.ts';
import { parseManifest, slotsOf } from '../../../daemon/config/bmux/slots.ts';
import { lineOf, parseToml } from '../../../daemon/config/files/toml.ts';

const ENV = { HOME: '/h' };
const FACTS = { host: '', os: 'linux', runtimeName: '', cwd: '/w', term: 'xterm', env: ENV };

const WORDS = [
  'general', 'server_timeout', 'connections', 'targets', 'share_links', 'transport', 'port', 'ca_file', 'iroh_ip_addr', 'behavior', 'compression', 'remote',
  'composition', 'profiles', 'active_profile', 'layer_order', 'auto_select', 'extends', 'patch', 'profile', 'slots', 'binary', 'extend', 'runtime_dir',
  'log', 'level', 'iroh', 'relays', '__proto__', 'constructor', 'toString', 'a', 'A', '""', '"a b"',
] as const; // oxfmt-ignore
const VALUES = [
  '1', '0', '-1', '1.5', 'nan', '99999999999999999999', 'true', '"x"', '"tls"', '"${a}"', '"$HOME/~"', "'''\n[a]\n'''", '[]', '["a"]', '[{ profile = "a" }]', '{}',
  '{ a = { extends = ["a"] } }', '1979-05-27', '07:32:00', '"1.2.3.4:5"', '[1, "a"]', '"\\u0000"', '["profile:a", "config", "profile:active"]',
] as const; // oxfmt-ignore

const key = fc
  .array(fc.constantFrom(...WORDS), { minLength: 1, maxLength: 4 })
  .map((words) => words.join('.'));
const line = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(key, fc.constantFrom(...VALUES)).map(([name, value]) => `${name} = ${value}`),
  },
  { weight: 3, arbitrary: key.map((name) => `[${name}]`) },
  { weight: 1, arbitrary: key.map((name) => `[[${name}]]`) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) },
);
const tomlish = fc.array(line, { maxLength: 12 }).map((lines) => Buffer.from(lines.join('\n')));
/** Bytes of a file: random bytes, or almost a config. */
const anyBytes = fc.oneof(
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }) },
  { weight: 4, arbitrary: tomlish },
);

/** Runs `work`; any error must be a failure with a text. */
function orFailure(work: () => unknown): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (error.data.detail === '' || error.code === 'internal') throw error;
    if (/\{(file|line|key|why|slot|variable|field)\}/u.test(error.data.detail)) throw error;
  }
}

/** Any bytes in any file that is read give a result or a failure, never another error. */
export function anyBytesGiveResultOrFailure(runs: number): void {
  fc.assert(
    fc.property(fc.array(anyBytes, { minLength: 1, maxLength: 3 }), (files) => {
      const docs = files.flatMap((bytes, index) => {
        const parsed = parseToml(bytes);
        return 'why' in parsed ? [] : [{ file: `/${String(index)}`, ...parsed }];
      });
      orFailure(() => composeConfig({ docs, files: [] }, FACTS));
      orFailure(() =>
        slotsOf(
          files.map((bytes) => parseManifest('/slots.toml', bytes)),
          { env: ENV },
          bmuxPaths(ENV),
        ),
      );
      for (const bytes of files) {
        const { settings, problem } = parseSettings('/bmuxd.toml', bytes);
        JSON.stringify(settings);
        if (problem?.code === 'internal') throw problem;
      }
      if (Object.hasOwn(Object.prototype, 'a'))
        throw new Error('a file reached the prototype of all objects');
    }),
    { numRuns: runs },
  );
}

/** Each top-level key of a valid file is found on a line that names it, or on line 1. */
export function linesAreWithinTheFile(runs: number): void {
  fc.assert(
    fc.property(tomlish, (bytes) => {
      const parsed = parseToml(bytes);
      if ('why' in parsed) return;
      const lines = parsed.text.split('\n');
      for (const name of Object.keys(parsed.table)) {
        const found = lines[lineOf(parsed.text, [name]) - 1];
        if (found === undefined) throw new Error(`no such line for ${name}`);
        if (/^\w+$/u.test(name) && !found.includes(name))
          throw new Error(`${name} is not on the line: ${found}`);
      }
    }),
    { numRuns: runs },
  );
}
