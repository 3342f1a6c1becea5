// Renders a service file into a folder of the test, by the instructions in the file's own header.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

import type { Test } from 'tap';

const ROOT = new URL('../../../', import.meta.url);

/** A folder under the temp dir that is removed after the test. */
export function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'bmuxd-service-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true });
  });
  return folder;
}

/** The file as it is in the repository. */
export function original(file: string): string {
  return readFileSync(new URL(file, ROOT), 'utf8');
}

/** Writes `file` with its placeholders filled in, and a program for it to start; returns the path. */
export function rendered(file: string, folder: string): string {
  const program = join(folder, 'bmuxd');
  writeFileSync(program, '#!/bin/sh\n');
  chmodSync(program, 0o755);
  const text = original(file).replaceAll('@NODE@', process.execPath).replaceAll('@BINDIR@', folder);
  const path = join(folder, basename(file));
  writeFileSync(path, text);
  return path;
}
