// A daemon whose targets are hostile servers, all at once, beside a healthy server with streams that echo.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startBmuxd, makeSandbox, type Bmuxd, type Sandbox } from '../../daemon/bmuxd.ts';
import { launchEmbedded } from '../../embedded/launch.ts';
import { launchHostile } from '../../embedded/hostile/launch.ts';
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
  readonly bmuxd: Pick<Sandbox, 'env' | 'streamsPath'>;
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

export async function startAttack(): Promise<Attack> {
  const sandbox = await makeSandbox({ settings: 'iroh.relays = "disabled"\n' });
  const hostile = await launchHostile(sandbox.folder);
  const healthy = await launchEmbedded({
    socketPath: join(sandbox.folder, 'healthy.sock'),
    server: { epoch: 4 },
    tls: { compression: 'zstd' },
  });
  const hostileCa = join(sandbox.folder, 'hostile.pem');
  const healthyCa = join(sandbox.folder, 'healthy.pem');
  await writeFile(hostileCa, hostile.certPem);
  await writeFile(healthyCa, healthy.tls?.certPem ?? '');
  const tls = (port: number, caFile: string): string[] => [
    'transport = "tls"',
    'host = "127.0.0.1"',
    `port = ${String(port)}`,
    'server_name = "localhost"',
    `ca_file = ${JSON.stringify(caFile)}`,
    `connect_timeout_ms = ${String(BUDGET_MS)}`,
  ];
  const targets = [section('healthy', tls(healthy.tls?.port ?? 0, healthyCa))];
  const asked: HostileTarget[] = [];
  for (const [at, server] of hostile.servers.entries()) {
    targets.push(section(`t${String(at)}`, tls(server.port, hostileCa)));
    asked.push({ bmuxd: sandbox, target: `t${String(at)}` });
  }
  await sandbox.configure('bmux.toml', targets.join('\n'));
  const bmuxd = await startBmuxd({ sandbox });
  for (const server of hostile.servers) {
    if (server.runtimeDir === undefined) continue;
    const env = { ...sandbox.env, BMUX_RUNTIME_DIR: server.runtimeDir };
    asked.push({ bmuxd: { ...sandbox, env }, target: 'local' });
  }
  return {
    bmuxd,
    run: (ms) => attack(bmuxd, asked, ms),
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
