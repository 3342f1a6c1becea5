// The store of trusted gateways: what bmux cannot read is used by nobody and overwritten by nobody, and what is not ours stays as it is.
import { mkdir, mkdtemp, readFile, readlink, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Failure } from '../../../daemon/base/failure.ts';
import {
  addKnownGateway,
  readKnownGateways,
  removeKnownGateway,
} from '../../../daemon/config/bmux/known-gateways.ts';
import { realBmux, run } from '../../real/index.ts';

const PIN = `SHA256:${'ab'.repeat(32)}`;
const HEAD = `[gateways."a:1"]\nfingerprint_sha256 = "${PIN}"\n`;
const AT = 'trusted_at_unix_ms = 5\n';

/** Stores that bmux refuses, and what is said of them. */
const UNREADABLE: readonly (readonly [string, RegExp])[] = [
  [`\n${HEAD}`, /"a:1"\.trusted_at_unix_ms in line 2 is missing/],
  ...['5.0', '-5', '"5"', '1979-05-27T07:32:00Z', 'inf', 'true', '[5]'].map(
    (value) =>
      [`${HEAD}trusted_at_unix_ms = ${value}\n`, /trusted_at_unix_ms in line 3 is not a whole/] as const,
  ),
  [`${HEAD}${AT}server_name = 3\n`, /server_name in line 4 is not a text/],
  [`${HEAD}${AT}label = []\n`, /label in line 4 is not a text/],
  [`[gateways."a:1"]\n${AT}`, /fingerprint_sha256 in line 1 is missing/],
  ['[gateways]\n"a:1" = "x"\n', /"a:1" in line 2 is no table/],
  ['gateways = []\n', /gateways is no table/],
  // Values of nobody, which bmux reads nevertheless.
  [`${HEAD}${AT}note = 2026-02-30\n`, /:4: not TOML: there is no such date/],
  [`x = [2100-02-29T00:00:00Z]\n${HEAD}${AT}`, /:1: not TOML: there is no such date/],
  [`${HEAD}${AT}[other]\nfloat = 1e400\n`, /:5: not TOML: there is no such date, or no such number/],
  [`x = ${String(2n ** 128n)}\n${HEAD}${AT}`, /:1: not TOML: the number is too large/],
  [`x = ${'['.repeat(81)}${']'.repeat(81)}\n${HEAD}${AT}`, /:1: not TOML: .*nested/],
  [`\uFEFF\uFEFF${HEAD}${AT}`, /:1: not TOML/],
  [`${HEAD}trusted_at_unix_ms = ${String(2n ** 64n)}\n`, /trusted_at_unix_ms in line 3 is not a whole/],
];
const READABLE = [
  `${HEAD}${AT}`,
  `${HEAD}trusted_at_unix_ms = 0x5\n`,
  `${HEAD}trusted_at_unix_ms = 9223372036854775807\n`,
  `version = 1\n${HEAD}${AT}more = 1.0\n[other]\nx = 1\n`,
  `[gateways."a:1"]\nfingerprint_sha256 = "  "\n${AT}`,
  '',
  `\uFEFFx = 23:59:60\ny = 2016-12-31T23:59:60.5Z\n${HEAD}${AT}`,
  `x = 2024-02-29\ny = "2026-02-30, 1e400" # 2026-02-30\n2026-02-30 = -inf\n${HEAD}${AT}`,
  `x = ${String(2n ** 128n - 1n)}\ny = ${'['.repeat(80)}${']'.repeat(80)}\n${HEAD}${AT}`,
];

async function storeOf(t: Test): Promise<{ readonly path: string; readonly env: Record<string, string> }> {
  const folder = await mkdtemp(join(tmpdir(), 'gw-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const env: Record<string, string> = { HOME: folder, PATH: process.env['PATH'] ?? '' };
  for (const name of ['RUNTIME', 'CONFIG', 'DATA', 'STATE']) {
    env[`BMUX_${name}_DIR`] = join(folder, name);
    await mkdir(join(folder, name), { mode: 0o700 });
  }
  return { path: join(folder, 'STATE', 'known-gateways.toml'), env };
}

/** The failure with its causes, in one text. */
function said(error: unknown): string {
  if (!(error instanceof Failure)) throw error;
  return [error.code, error.message, ...error.data.causes].join('\n');
}

t.test('a store that bmux cannot read has no pins, and is left alone', async (t) => {
  const { path } = await storeOf(t);
  for (const [text, why] of UNREADABLE) {
    await writeFile(path, text);
    const { pins, problem } = await readKnownGateways(path);
    t.equal(pins.size, 0, text);
    t.match(said(problem), why, text);
    for (const change of [
      () => addKnownGateway(path, 'b:1', { fingerprint: PIN }, true),
      () => removeKnownGateway(path, 'a:1'),
    ]) {
      const refused = said(
        await change().then(
          () => undefined,
          (error: unknown) => error,
        ),
      );
      t.match(refused, /^known_gateways_unparsable\nfailed parsing known gateways store \//, text);
      t.match(refused, why);
    }
    t.equal(await readFile(path, 'utf8'), text);
  }
});

t.test('a blank pin is shown, and counts as none', async (t) => {
  const { path } = await storeOf(t);
  await writeFile(path, `[gateways."a:1"]\nfingerprint_sha256 = " "\n${AT}label = "x"\n`);
  const { pins, blank } = await readKnownGateways(path);
  t.equal(pins.size, 0);
  t.match(blank?.get('a:1'), { fingerprint: '', label: 'x' });
});

t.test('what is not changed stays as it is written', async (t) => {
  const { path } = await storeOf(t);
  const before = '# by hand\nratio = 1.0 # one\n\n';
  const after = `\n# the other\n[gateways."z:1"]\nfingerprint_sha256 = '${PIN}' # its pin\n${AT}share=1.50\n`;
  await writeFile(path, `${before}${HEAD}${AT}weight = 2.0\n${after}`);
  const pin = { fingerprint: PIN.replace('ab', 'cd'), trustedAtMs: 7 };
  await addKnownGateway(path, 'a:1', pin, true);
  await addKnownGateway(path, 'new:1', pin);
  const text = await readFile(path, 'utf8');
  t.ok(text.startsWith(before), text);
  t.ok(text.includes(after), text);
  t.match(text, /weight = 2\.0\n/);
  t.match(text, /\n\[gateways\."new:1"\]\nfingerprint_sha256 = "SHA256:cdab.*"\ntrusted_at_unix_ms = 7\n$/);
  await removeKnownGateway(path, 'a:1');
  await removeKnownGateway(path, 'new:1');
  t.equal(await readFile(path, 'utf8'), `${before}${after}`);
  await writeFile(
    path,
    `gateways = { "a:1" = { fingerprint_sha256 = "x", trusted_at_unix_ms = 5, y = 3.0 } }\n`,
  );
  await addKnownGateway(path, 'new:1', pin);
  t.match(await readFile(path, 'utf8'), /y = 3\.0\n/, 'another notation is written anew, with its values');
  t.strictSame([...(await readKnownGateways(path)).pins.keys()], ['a:1', 'new:1']);
});

t.test('comments stay when the last pin goes, and lines keep their ends', async (t) => {
  const { path } = await storeOf(t);
  const head = '# by hand\n';
  await writeFile(path, `${head}${HEAD}${AT}`);
  await removeKnownGateway(path, 'a:1');
  t.equal(await readFile(path, 'utf8'), head);
  await addKnownGateway(path, 'a:1', { fingerprint: PIN, trustedAtMs: 5 });
  t.equal(await readFile(path, 'utf8'), `${head}${HEAD}${AT}`);
  const crlf = (text: string): string => text.replaceAll('\n', '\r\n');
  const after = `\n# the other\n[gateways."z:1"]\nfingerprint_sha256 = "${PIN}"\n${AT}`;
  await writeFile(path, crlf(`${head}${HEAD}${AT}${after}`));
  await addKnownGateway(path, 'a:1', { fingerprint: PIN, trustedAtMs: 7 }, true);
  t.equal(await readFile(path, 'utf8'), crlf(`${head}${HEAD}${AT}${after}`.replace('ms = 5', 'ms = 7')));
});

t.test('a link stays a link, also one to nothing, and a lock that is held is named', async (t) => {
  const { path, env } = await storeOf(t);
  const [there, by] = [join(env['HOME'] ?? '', 'there.toml'), join(env['HOME'] ?? '', 'by.toml')];
  await symlink('there.toml', by);
  await symlink(by, path);
  await addKnownGateway(path, 'a:1', { fingerprint: PIN, trustedAtMs: 5 });
  t.equal(await readFile(there, 'utf8'), `${HEAD}${AT}`);
  t.equal(await readlink(path), by);
  await mkdir(`${path}.lock`);
  await utimes(`${path}.lock`, new Date(), new Date(Date.now() + 3_600_000));
  const held = await addKnownGateway(path, 'b:1', { fingerprint: PIN }).catch((error: unknown) => error);
  t.match(held, { data: { remedy: /^Another program holds \S+known-gateways\.toml\.lock: / } });
});

t.test('beside bmux', { skip: realBmux() === undefined && 'real bmux not found' }, async (t) => {
  const { path, env } = await storeOf(t);
  const list = async (): Promise<{ isRead: boolean; stdout: string }> => {
    const { status, stdout } = await run(realBmux() ?? '', ['remote', 'trust', 'list'], env);
    return { isRead: status === 0, stdout };
  };
  for (const text of [...READABLE, ...UNREADABLE.map(([text]) => text)]) {
    await writeFile(path, text);
    const { problem } = await readKnownGateways(path);
    t.equal(problem === undefined, (await list()).isRead, text);
    if (problem !== undefined) continue;
    await addKnownGateway(path, 'b:1', { fingerprint: PIN, label: 'new' });
    t.match(
      await list(),
      { isRead: true, stdout: `b:1\t${PIN}\tsource=local\tlabel=new` },
      `added to ${text}`,
    );
  }
});
