// Updates the generated parts of README.md and docs/: `npm run build && node dist/test/docs/generate.js`.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from '../real/index.ts';
import { PAGES, regenerated } from './pages.ts';

for (const page of PAGES) {
  const path = join(repositoryRoot(), page);
  const old = readFileSync(path, 'utf8');
  const made = regenerated(old);
  if (made === old) continue;
  writeFileSync(path, made);
  process.stdout.write(`${page} is up to date again\n`);
}
