// Makes docs/first-ten-minutes.md: `npm run build && node dist/test/package/first-minutes/generate.js`.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repositoryRoot } from '../../real/index.ts';
import { install, ownTools, pack } from '../packed.ts';
import { pageOf } from './page.ts';
import { missing, startSession, type Typed } from './session.ts';
import { STEPS } from './steps.ts';

const folder = await mkdtemp(join(tmpdir(), 'bm-'));
const tools = ownTools();
const lacking = missing();
if (tools === undefined || lacking !== undefined) throw new Error(lacking ?? 'npm not found');
const home = join(folder, 'h');
const installed = await install(await pack(folder, tools), home, tools);
if (typeof installed === 'string') throw new Error(installed);
const session = await startSession(folder, home, installed.env);
try {
  const typed: Typed[] = [];
  for (const step of STEPS) typed.push(await session.type(step));
  await writeFile(join(repositoryRoot(), 'docs/first-ten-minutes.md'), pageOf(typed));
} finally {
  await session.stop();
  await rm(folder, { recursive: true, force: true });
}
