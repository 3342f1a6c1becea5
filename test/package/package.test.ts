// Tests the package as a user gets it: packed, installed into an empty prefix with a clean HOME, used from the command line and as a library.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { repositoryRoot } from '../real/index.ts';
import { comparable, pageOf } from './first-minutes/page.ts';
import { missing, startSession, type Typed } from './first-minutes/session.ts';
import { STEPS } from './first-minutes/steps.ts';
import { install, ownTools, pack } from './packed.ts';
import { checks } from './works.ts';

const tools = ownTools();
const folder = await mkdtemp(join(tmpdir(), 'bm-'));
t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
const home = join(folder, 'h');
const installed =
  tools === undefined ? 'npm not found' : await install(await pack(folder, tools), home, tools);

t.test('the package', { skip: typeof installed === 'string' && installed }, async (t) => {
  if (typeof installed === 'string') return;
  await t.test('it works, as a library and as a daemon', async (t) => {
    for (const { what, ran, prints } of await checks(folder, installed))
      t.match(ran, { status: 0, stdout: prints }, what);
  });
  // The last step removes the package.
  await t.test('the first ten minutes are as documented', { skip: missing() ?? false }, async (t) => {
    const session = await startSession(folder, home, installed.env);
    t.teardown(() => session.stop());
    const typed: Typed[] = [];
    for (const step of STEPS) typed.push(await session.type(step));
    for (const { step, lines } of typed) {
      for (const { line, printed, status } of lines) {
        // Without zstd all else works.
        const expected = printed.includes('[zstd_unavailable]') ? 1 : (step.status ?? 0);
        t.equal(status, expected, line);
      }
    }
    const page = await readFile(join(repositoryRoot(), 'docs/first-ten-minutes.md'), 'utf8');
    t.strictSame(
      comparable(pageOf(typed)),
      comparable(page),
      'npm run build && node dist/test/package/first-minutes/generate.js',
    );
  });
});
