// TOML parsing: which input is refused, and on which line a key is found.
import { execFileSync } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { MAX_FILE_BYTES } from '../../../daemon/config/files/file.ts';
import { LARGE } from '../../../daemon/config/files/large-file.ts';
import { lineOf, parseToml, readToml } from '../../../daemon/config/files/toml.ts';
import { failureOf } from '../../policy/failure-of.ts';
import { folderFor, put } from '../files.ts';

t.test('lineOf', (t) => {
  const text = [
    '# a comment', // 1
    'plain = 1',
    '"quo.ted" = 2', // 3
    'list = [',
    '  "a", # ] not the end', // 5
    '  "b",',
    ']', // 7
    'text = """',
    'fake = 1', // 9
    '[fake]',
    '"""', // 11
    'a.b.c = 3',
    '[connections.targets.prod] # here', // 13
    'host = "h"',
    'inline = { x = 1, y = { z = 2 } }', // 15
    '[[rules]]',
    'profile = "one"', // 17
    '[[rules]]',
    'profile = "two"', // 19
    '["__proto__"]',
    'x = 1', // 21
    '',
  ].join('\r\n');
  const expected: readonly (readonly [string, number])[] = [
    ['plain', 2],
    ['quo.ted', 3],
    ['list', 4],
    ['list/1', 4],
    ['text', 8],
    ['a', 12],
    ['a/b/c', 12],
    ['connections', 13],
    ['connections/targets/prod', 13],
    ['connections/targets/prod/host', 14],
    ['connections/targets/prod/inline/y/z', 15],
    ['rules', 16],
    ['rules/0/profile', 17],
    ['rules/1', 18],
    ['rules/1/profile', 19],
    ['__proto__/x', 21],
    ['fake', 1],
    ['plain/x', 1],
  ];
  for (const [path, line] of expected) t.equal(lineOf(text, path.split('/')), line, path);
  const large = `${text}${'# \n'.repeat(LARGE / 3)}`;
  for (const [path, line] of expected) {
    // What is not there is on the line of the nearest table.
    if (!path.startsWith('fake') && path !== 'plain/x')
      t.equal(lineOf(large, path.split('/')), line, `${path} in a large file`);
  }
  t.end();
});

t.test('what is not closed is told with the last line that is not empty', async (t) => {
  const lineIn = (text: string): unknown => Reflect.get(parseToml(Buffer.from(text)), 'line');
  t.equal(lineIn('a = 1\nb = [\n\n\n'), 2);
  t.equal(lineIn('a = [1,\n2\nb = 3\n'), 3);
  t.equal(lineIn('a = 1 2\nb = 1\n'), 1);
});

t.test('numbers beyond 64 bits are refused, as in bmux', (t) => {
  const read = (text: string): unknown => parseToml(Buffer.from(text));
  t.match(read('a = 9223372036854775807\nb = -9223372036854775808\n'), {
    table: { a: 2n ** 63n - 1n, b: -(2n ** 63n) },
  });
  for (const value of ['9223372036854775808', '-9223372036854775809', '0xffffffffffffffff'])
    t.match(read(`a = 1\n[b]\nc = [1, { d = ${value} }]\n`), { line: 3, why: 'the number is too large' });
  t.end();
});

t.test('lineOf costs little, whatever the file looks like', (t) => {
  const many = Array.from({ length: 8000 }, (_, i) => `[t.k${String(i)}]\nhost = "host.example"`).join('\n');
  const long = `a = [\n${'  { x = 1 },\n'.repeat(20_000)}]\nlast = 1\n`;
  const start = performance.now();
  t.equal(lineOf(many, ['t', 'k7999', 'host']), 16_000);
  lineOf(long, ['last']);
  t.ok(performance.now() - start < 10_000);
  t.end();
});

t.test('readToml', async (t) => {
  const folder = await folderFor(t);
  const path = join(folder, 'x.toml');
  const marks = new Map<string, string>();
  t.equal(await readToml(path, marks), undefined);
  t.strictSame([...marks], [[path, 'missing']]);
  t.equal(await readToml(join(path, 'below')), undefined, 'no folder');

  await put(path, '\uFEFFa = 9007199254740993\n');
  t.match(await readToml(path, marks), { file: path, table: { a: 9007199254740993n } }, 'BOM, big integer');
  t.not(marks.get(path), 'missing');

  await put(path, 'a = 1\nb = \n');
  t.match(await failureOf(() => readToml(path)), {
    code: 'config_syntax',
    detail: `${path}:2: not TOML: invalid value`,
  });
  await put(path, Buffer.from([0x61, 0x3d, 0x31, 0x0a, 0x62, 0x3d, 0x22, 0xff, 0x22]));
  t.match(await failureOf(() => readToml(path)), {
    code: 'config_syntax',
    detail: `${path}:2: not TOML: not UTF-8`,
  });
  await put(path, `a = ${'['.repeat(100_000)}`);
  t.match(await failureOf(() => readToml(path)), { code: 'config_syntax' });

  await put(path, `#${'x'.repeat(MAX_FILE_BYTES)}`);
  t.match(await failureOf(() => readToml(path)), { code: 'file_unreadable', causes: [/larger than/] });
  await mkdir(join(folder, 'dir'));
  t.match(await failureOf(() => readToml(join(folder, 'dir'))), {
    code: 'file_unreadable',
    causes: [/not a regular/],
  });
  execFileSync('mkfifo', [join(folder, 'fifo')]);
  t.match(
    await failureOf(() => readToml(join(folder, 'fifo'))),
    { code: 'file_unreadable' },
    'a FIFO does not hang',
  );
});
