// Tests `npm start`: it shows times and the status, all commands that it prints work, and Ctrl-C ends it and removes its files.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { run, waitFor } from '../real/index.ts';

const MAIN = fileURLToPath(new URL('main.js', import.meta.url));
const PATH = { PATH: process.env['PATH'] ?? '' };

/** Starts the demo. It is killed after the test if it still runs. */
function start(t: Test, args: readonly string[]) {
  const child = spawn(process.execPath, [MAIN, ...args], { env: PATH, stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => child.kill('SIGTERM'));
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  return { child, exited, out: () => out, err: () => err };
}

t.test('once', async (t) => {
  const demo = start(t, ['--once']);
  t.equal(await demo.exited, 0);
  t.equal(demo.err(), '', 'no warnings');
  const stdout = demo.out();
  for (const row of [/^local +local +first/m, /^demo-tls +TLS +again/m, /^demo-iroh +iroh, direct +again/m])
    t.match(stdout, row);
  t.match(stdout, /^bmuxd \S+: ready/m);
  t.notMatch(stdout, /FAILED/);
  const folder = /^socket (\S+)\/d\/control\.sock$/m.exec(stdout)?.[1] ?? '/';
  t.notOk(existsSync(folder), `${folder} is removed`);
});

t.test('the demo runs until Ctrl-C', async (t) => {
  const demo = start(t, []);
  await waitFor(
    'the printed commands',
    () => demo.out().includes('Ctrl-C ends') || demo.child.exitCode !== null,
    60_000,
  );

  const commands = [...demo.out().matchAll(/^ {2}(\S.*?)(?:\s+# .*)?$/gm)].map(([, command = '']) => command);
  const [source = '', ...rest] = commands;
  t.match(source, /^\. \//);
  const folder = source.slice(2).replace(/\/env$/, '');
  const said = new Map<string, string>();
  for (const command of rest) {
    // Commands that run in the background or follow a file are left out, because they do not end by themselves.
    if (command.endsWith('&') || command.startsWith('tail')) continue;
    const asked = command === 'bmuxd status' ? `${command} --wait 5` : command;
    const { status, stdout, stderr } = await run('sh', ['-c', `${source}\n${asked}`], PATH);
    t.equal(status, 0, command);
    t.equal(stderr, '', command);
    said.set(
      command
        .replace(/^printf.*/, 'ping')
        .split(' ')
        .slice(0, 2)
        .join(' '),
      stdout,
    );
  }
  t.match(said.get('ping'), / 06 00 00 00 04 02 01 02 00 00/, 'the Pong of the server');
  t.match(said.get('bmuxd status'), /: ready/);
  t.match(said.get('bmuxd targets'), /demo-iroh/);
  t.match(said.get('bmuxd env'), /BMUX_RUNTIME_DIR=/);

  demo.child.kill('SIGINT');
  demo.child.kill('SIGINT');
  t.equal(await demo.exited, 0);
  t.equal(demo.err(), '');
  t.notOk(existsSync(folder), 'the folder is removed');
});
