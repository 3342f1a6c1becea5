// The program that reads the keychain of macOS.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { keychain } from '../../../daemon/transport/tls/certificates/keychain.ts';

t.test('a keychain that does not answer, and one that does', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-keychain-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const program = async (name: string, script: string): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return path;
  };
  const hung = await program('hung', "trap '' TERM\necho PEM\nwhile :; do sleep 1; done");
  t.equal(await keychain(hung, 1000), '', 'it is not waited for, although it ignores SIGTERM');
  t.equal(await keychain(await program('broken', 'echo PEM; exit 1')), '');
  t.equal(await keychain(await program('well', 'echo "$1"')), 'find-certificate\n');
});
