// Renders a service file into a folder of the test, as `bmuxd install` writes it.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

import type { Test } from 'tap';

import type { Env } from '../../daemon/base/paths.ts';
import { agentFiles, unitFiles } from '../../daemon/cli/service/install/files.ts';

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

/** Writes a service file as `bmuxd install` does, for a program in `folder`; returns the path. */
export function rendered(file: string, folder: string, env: Env = {}): string {
  const program = join(folder, 'bmuxd');
  writeFileSync(program, '#!/bin/sh\n');
  chmodSync(program, 0o755);
  const options = { env: { HOME: folder, ...env }, node: process.execPath, program, sockets: true };
  const found = [...unitFiles(options), ...agentFiles(options)].find(
    ({ path }) => basename(path) === basename(file),
  );
  const path = join(folder, basename(file));
  writeFileSync(path, found?.content ?? '');
  return path;
}
