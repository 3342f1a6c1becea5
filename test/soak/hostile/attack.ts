// A daemon whose targets are hostile servers, all at once, beside a healthy server with streams that echo.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startBmuxd, makeSandbox, type Bmuxd, type Sandbox } from '../../daemon/bmuxd.ts';
import { launchEmbedded } from '../../embedded/launch.ts';
import { launchHostile, launchHostileHosts } from '../../embedded/hostile/launch.ts';
import { hasSshAgent, startAgent } from '../../real/agent.ts';
import { encodeRequestFrame } from '../../../daemon/bmux-ipc/ipc.ts';
import { Incoming, requestHead } from '../../streams/requests.ts';
import { run } from '../../real/server.ts';
import { residentMb } from '../growth.ts';
import type { EchoOrder } from './echo.ts';

/** Time limit of a request to a hostile server, ms. */
const BUDGET_MS = 2000;
/** ms that a client stays on a stream that it was given. */
const STAY_MS = 1000;
/** ms of the measurement before an attack. */
const ALONE_MS = 500;
const SAMPLE_EVERY_MS = 50;

export interface Attack {
  readonly bmuxd: Bmuxd;
  /** Rejects when another engine has taken over. */
  run(ms: number): Promise<AttackResult>;
  stop(): Promise<void>;
}

/** One way to a hostile server. */
interface HostileTarget {
  /** With the environment in which the target leads there. */
  readonly bmuxd: Pick<Bmuxd, 'env' | 'streamsPath'>;
  readonly target: string;
}

export interface AttackResult {
  readonly requests: number;
  /** MB of the engine at rest, and the largest of all samples. */
  readonly restMb: number;
  readonly peakMb: number;
  /** ms of all echoes, sorted: before the attack, and during it. */
  readonly aloneMs: readonly number[];
  readonly echoMs: readonly number[];
  /** Answers by status or error code. */
  readonly answers: Readonly<Record<string, number>>;
}

function section(name: string, lines: readonly string[]): string {
  return `[connections.targets.${name}]\n${lines.join('\n')}\n`;
}

/** The hostile servers of one attack, and how a daemon is told of them. */
interface Hostile {
  /** Of bmux.toml. */
  readonly targets: readonly string[];
  readonly asked: readonly HostileTarget[];
  stop(): Promise<void>;
}

const BUDGET = `connect_timeout_ms = ${String(BUDGET_MS)}`;

function tlsTarget(name: string, port: number, caFile: string): string {
  return section(name, [
    'transport = "tls"',
    'host = "127.0.0.1"',
    `port = ${String(port)}`,
    'server_name = "localhost"',
    `ca_file = ${JSON.stringify(caFile)}`,
    BUDGET,
  ]);
}

/** Servers on sockets: each over TLS, and as a local one. */
export async function hostileServers(sandbox: Sandbox): Promise<Hostile> {
  const hostile = await launchHostile(sandbox.folder);
  const ca = join(sandbox.folder, 'hostile.pem');
  await writeFile(ca, hostile.certPem);
  const targets: string[] = [];
  const asked: HostileTarget[] = [];
  for (const [at, { port, runtimeDir }] of hostile.servers.entries()) {
    targets.push(tlsTarget(`t${String(at)}`, port, ca));
    asked.push({ bmuxd: sandbox, target: `t${String(at)}` });
    if (runtimeDir === undefined) continue;
    const env = { ...sandbox.env, BMUX_RUNTIME_DIR: runtimeDir };
    asked.push({ bmuxd: { ...sandbox, env }, target: 'local' });
  }
  return { targets, asked, stop: () => hostile.stop() };
}

/** Iroh hosts, with SSH auth where there is an agent. */
export async function hostileHosts(sandbox: Sandbox): Promise<Hostile> {
  const agent = hasSshAgent() ? await startAgent() : undefined;
  const hostile = await launchHostileHosts(agent === undefined ? [] : [await agent.addKey('ed25519', 'me')]);
  const env = { ...sandbox.env, ...(agent === undefined ? {} : { SSH_AUTH_SOCK: agent.socket }) };
  const names = hostile.hosts.map((_, at) => `i${String(at)}`);
  return {
    targets: hostile.hosts.map(({ endpointId, address, sshAuth }, at) =>
      section(`i${String(at)}`, [
        'transport = "iroh"',
        `endpoint_id = "${endpointId}"`,
        `iroh_ip_addr = "${address}"`,
        `iroh_ssh_auth = ${String(sshAuth)}`,
        BUDGET,
      ]),
    ),
    asked: names.map((target) => ({ bmuxd: { ...sandbox, env }, target })),
    stop: async () => {
      await hostile.stop();
      await agent?.stop();
    },
  };
}

export async function startAttack(launch: (sandbox: Sandbox) => Promise<Hostile>): Promise<Attack> {
  const sandbox = await makeSandbox({ settings: 'iroh.relays = "disabled"\n' });
  const hostile = await launch(sandbox);
  const healthy = await launchEmbedded({
    socketPath: join(sandbox.folder, 'healthy.sock'),
    server: { epoch: 4 },
    tls: { compression: 'zstd' },
  });
  const ca = join(sandbox.folder, 'healthy.pem');
  await writeFile(ca, healthy.tls?.certPem ?? '');
  const targets = [tlsTarget('healthy', healthy.tls?.port ?? 0, ca), ...hostile.targets];
  await sandbox.configure('bmux.toml', targets.join('\n'));
  const bmuxd = await startBmuxd({ sandbox });
  return {
    bmuxd,
    run: (ms) => attack(bmuxd, hostile.asked, ms),
    stop: async () => {
      await bmuxd.stop();
      await hostile.stop();
      await healthy.stop();
      await sandbox.remove();
    },
  };
}

/** The ms of all echoes of a stream to the healthy server, sorted. */
async function echo({ env, streamsPath }: Bmuxd, ms: number): Promise<number[]> {
  const main = fileURLToPath(new URL('echo.js', import.meta.url));
  const order: EchoOrder = { env, streamsPath, target: 'healthy', ms };
  const { status, stdout, stderr } = await run(process.execPath, [main, JSON.stringify(order)], env);
  if (status !== 0) throw new Error(stderr);
  return (JSON.parse(stdout) as number[]).sort((a, b) => a - b);
}

/** Asks for a stream again and again, and reads for a while what comes on it. */
async function ask(
  { bmuxd, target }: HostileTarget,
  until: number,
  count: (answer: string) => void,
): Promise<void> {
  while (performance.now() < until) {
    const incoming = new Incoming(bmuxd.streamsPath);
    try {
      incoming.socket.write(requestHead(bmuxd, { target }));
      const { status, head } = await incoming.answer();
      if (status === 101) {
        count('101');
        incoming.takeAll(() => undefined);
        incoming.socket.write(encodeRequestFrame(4, 7n, { type: 'ping' }));
        await wait(STAY_MS);
      } else {
        const body = (await incoming.toEnd()).toString();
        count(/"code":"(\w+)"/.exec(body)?.[1] ?? head);
      }
    } catch (error) {
      count(error instanceof Error ? error.message.slice(0, 60) : String(error));
    } finally {
      incoming.socket.destroy();
    }
    await wait(20);
  }
}

async function attack(bmuxd: Bmuxd, asked: readonly HostileTarget[], ms: number): Promise<AttackResult> {
  const engine = await bmuxd.enginePid();
  // A first stream loads what every engine needs.
  const aloneMs = await echo(bmuxd, ALONE_MS);
  const restMb = (await residentMb(engine)) ?? NaN;
  const until = performance.now() + ms;
  const answers: Record<string, number> = {};
  let requests = 0;
  let peakMb = restMb;
  const count = (answer: string): void => {
    requests += 1;
    answers[answer] = (answers[answer] ?? 0) + 1;
  };
  const sample = async (): Promise<void> => {
    while (performance.now() < until) {
      peakMb = Math.max(peakMb, (await residentMb(engine)) ?? NaN);
      await wait(SAMPLE_EVERY_MS);
    }
  };
  const [echoMs] = await Promise.all([
    echo(bmuxd, ms),
    sample(),
    ...asked.map((one) => ask(one, until, count)),
  ]);
  if ((await bmuxd.enginePid()) !== engine) throw new Error('the engine was replaced');
  return { requests, restMb, peakMb, aloneMs, echoMs, answers };
}
