// The launchd agent is a valid property list, and does not stop the engines.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';

import { BMUXD } from '../daemon/bmuxd.ts';
import { parsePlist } from './plist.ts';
import { rendered, temporaryFolder } from './render.ts';

const FILE = 'launchd/dev.bmux.bmuxd.plist';

t.test('the agent starts the daemon, restarts it, and does not stop the engines', async (t) => {
  const folder = temporaryFolder(t);
  const value = parsePlist(readFileSync(rendered(FILE, folder), 'utf8'));
  t.match(value, {
    Label: 'dev.bmux.bmuxd',
    ProgramArguments: [
      process.execPath,
      '--max-semi-space-size=2',
      `${folder}/bmuxd`,
      'run',
      '--log-file',
      `${folder}/Library/Logs/bmuxd/daemon.log`,
    ],
    StandardErrorPath: `${folder}/Library/Logs/bmuxd/daemon.stderr`,
    RunAtLoad: true,
    KeepAlive: { SuccessfulExit: false },
    AbandonProcessGroup: true,
    Umask: 0o077,
  });
});

t.test('text that is not a valid property list is refused', async (t) => {
  const start = '<?xml version="1.0"?><!DOCTYPE plist><plist version="1.0">';
  t.same(parsePlist(`${start}<dict><key>a</key><true/></dict></plist>`), { a: true });
  const broken = [
    '<dict><key>a</key></dict></plist>',
    '<dict><true/></dict></plist>',
    '<string>a & b</string></plist>',
    '<array><true/></dict></plist>',
    '<!-- a -- b --><true/></plist>',
    '<true/>',
  ];
  for (const rest of broken) t.throws(() => parsePlist(start + rest), rest);
});

t.test('install ends the former agent only when the next one can start', async (t) => {
  const folder = temporaryFolder(t);
  const file = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o700 });
    return path;
  };
  file('launchctl', '#!/bin/sh\necho "$1" >>"$HOME/asked"; test "$1" != "$FAILS"\n');
  const mac = file('mac.cjs', "Object.defineProperty(process, 'platform', { value: 'darwin' });");
  const asked = (fails: string): { status: number | null; stderr: string; lines: string[] } => {
    writeFileSync(join(folder, 'asked'), '');
    const env = { HOME: folder, PATH: `${folder}:/bin:/usr/bin`, FAILS: fails };
    const args = ['--require', mac, BMUXD, 'install', '--now'];
    const { status, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8', timeout: 60_000 });
    return { status, stderr, lines: readFileSync(join(folder, 'asked'), 'utf8').trim().split('\n') };
  };
  t.match(asked('enable'), { status: 1, stderr: /\[service_manager_failed\]\n$/, lines: ['enable'] });
  // It is not there at the first install.
  t.match(asked('bootout'), { status: 0, lines: ['enable', 'bootout', 'bootstrap'] });
  t.match(asked('bootstrap'), { status: 1, stderr: /bootstrap.*\[service_manager_failed\]\n$/s });
});

const absent = spawnSync('plutil', ['-help']).error !== undefined && 'plutil not found';

t.test('plutil accepts it', { skip: absent }, async (t) => {
  const { status, stdout } = spawnSync('plutil', ['-lint', rendered(FILE, temporaryFolder(t))], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  t.equal(status, 0, stdout);
});
