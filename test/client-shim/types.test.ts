// Tests that the types of the client library compile in a strict TypeScript program.
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { makeSandbox } from '../daemon/bmuxd.ts';

t.test('the types compile under strict TypeScript', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const library = fileURLToPath(new URL('../../client-shim/index.js', import.meta.url));
  const root = fileURLToPath(new URL('../../../', import.meta.url));
  await writeFile(
    join(sandbox.folder, 'consumer.mts'),
    `import { openStream, Failure, type OpenedStream, type OpenStreamOptions, type StreamInfo } from ${JSON.stringify(library)};
const options: OpenStreamOptions = { target: 'prod', contract: { epoch: 4 }, timeoutMs: 1000 };
try {
  const { stream, info }: OpenedStream = await openStream(options);
  const shown: StreamInfo = info;
  stream.end(shown.negotiated.capabilities.join());
} catch (error) {
  if (error instanceof Failure) process.exitCode = error.data.exitStatus;
}
// @ts-expect-error: there is no such scope
await openStream({ scope: 'all' });
`,
  );
  const args = [
    '--strict',
    '--skipLibCheck',
    '--noEmit',
    '--module',
    'nodenext',
    '--target',
    'es2023',
    '--types',
    'node',
  ];
  const out = await new Promise<string>((resolve) => {
    execFile(
      process.execPath,
      [
        join(root, 'node_modules/typescript/bin/tsc'),
        ...args,
        '--typeRoots',
        join(root, 'node_modules/@types'),
        join(sandbox.folder, 'consumer.mts'),
      ],
      { cwd: sandbox.folder },
      (_error, stdout) => {
        resolve(stdout);
      },
    );
  });
  t.equal(out, '');
});
