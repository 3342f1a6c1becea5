// Tests `bmuxd attach` with the real bmux in a terminal: the screen is that of the session again, when what was lost is back.
import { dirname } from 'node:path';
import t, { type Test } from 'tap';
import { BMUXD, startBmuxd, type Bmuxd } from '../../daemon/bmuxd.ts';
import { accepts, realBmux, run, startChild, startServer } from '../../real/index.ts';
import { far, type Far } from '../../real/far.ts';
import { startTlsGateway, type TlsGateway } from '../../real/gateways.ts';
import { bmuxOrThrow, type RealServer } from '../../real/server.ts';
import { targetSocketEnv } from '../../target-sockets/target-socket.ts';
import { hasTmux, startTmux, type Tmux } from '../../target-sockets/tmux.ts';
import { targetToml } from '../../target-sockets/ways.ts';

t.setTimeout(300_000);

const missing = realBmux() === undefined ? 'real bmux not found' : !hasTmux() && 'tmux not found';
const KEYS = '[keybindings.global]\n"ctrl+q" = "detach"\n';
const WAITS = /prod was lost: .*waiting \d+ s; Enter tries now, Ctrl-C gives up/;

interface Attached {
  readonly server: RealServer;
  readonly gateway: TlsGateway;
  readonly bmuxd: Bmuxd;
  readonly tmux: Tmux;
  readonly window: string;
  readonly isAttached: () => Promise<string>;
}

/** `bmuxd attach` in a terminal, to a session at a gateway. */
async function attached(t: Test, there?: Far): Promise<Attached> {
  const server = await startServer();
  t.teardown(() => server.stop());
  const gateway = await startTlsGateway(server, { compression: 'none' }, there);
  t.teardown(() => gateway.stop());
  const { host, port, serverName, caFile } = gateway;
  const prod = targetToml('prod', {
    transport: 'tls',
    host,
    port,
    server_name: serverName,
    ca_file: caFile,
  });
  const bmuxd = await startBmuxd({ config: `${KEYS}${prod}` });
  t.teardown(() => bmuxd.stop());
  const tmux = await startTmux();
  t.teardown(() => tmux.stop());
  await newSession(t, await targetSocketEnv(bmuxd, 'prod'));
  const path = `${dirname(bmuxOrThrow())}:${process.env['PATH'] ?? ''}`;
  const command = `PATH='${path}' '${process.execPath}' '${BMUXD}' attach prod work`;
  const window = await tmux.open(`${command}; echo "left with $?"; stty -a; exec cat`, bmuxd.env);
  const isAttached = (): Promise<string> => tmux.shows(window, /^╭─*╮\n│.*[#$] /m);
  await isAttached();
  return { server, gateway, bmuxd, tmux, window, isAttached };
}

async function newSession(t: Test, env: Readonly<Record<string, string>>): Promise<void> {
  const made = await run(bmuxOrThrow(), ['new-session', '-n', 'work'], env);
  t.equal(made.status, 0, made.stderr);
}

t.test(
  'attach outlives its gateway and its server, until the person detaches',
  { skip: missing },
  async (t) => {
    const { server, tmux, window, isAttached, ...world } = await attached(t);
    let { gateway } = world;
    t.teardown(() => gateway.stop());

    process.kill(gateway.pid, 'SIGKILL');
    await tmux.shows(window, WAITS);
    gateway = await gateway.restart();
    t.notMatch(await isAttached(), WAITS, 'the gateway is back');

    process.kill(server.pid, 'SIGKILL');
    await tmux.shows(window, WAITS);
    // The target answers again only when the session is there: without it, attach ends.
    process.kill(gateway.pid, 'SIGKILL');
    const { env, socketPath } = server;
    const ready = (): Promise<boolean> => accepts({ path: socketPath });
    const next = await startChild({ command: bmuxOrThrow(), args: ['server', 'start'], env, ready });
    t.teardown(() => next.stop());
    await newSession(t, env);
    gateway = await gateway.restart();
    await isAttached();

    await tmux.keyUntil(window, 'C-q', /left with 0/);
    t.match(await tmux.shows(window, /icanon/), / icanon .* echo /s, 'the terminal is as it was');
  },
);

t.test('attach outlives a way that is cut, and its engine', { skip: missing }, async (t) => {
  const there = await far(t);
  if (there === undefined) {
    t.pass('# SKIP: a network namespace cannot be made here');
    return;
  }
  const { bmuxd, tmux, window, isAttached } = await attached(t, there);
  await there.cut();
  await tmux.type(window, 'x');
  await tmux.shows(window, WAITS);
  await there.mend();
  t.notMatch(await isAttached(), WAITS, 'the way is back');

  process.kill(await bmuxd.enginePid(), 'SIGKILL');
  await tmux.shows(window, /its engine has died/);
  await isAttached();
  await tmux.keyUntil(window, 'C-q', /left with 0/);
});
