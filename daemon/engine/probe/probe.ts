// Tries the way to one target, step by step, with the engine's own parts: nothing is kept, and no cached answer is used.
import { lookup } from 'node:dns/promises';
import { existsSync } from 'node:fs';
import { isIP } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { Deadline, inTime } from '../../base/async/deadline.ts';
import { LIMITS } from '../../base/limits.ts';
import { makeLogger } from '../../base/log.ts';
import { bmuxdPaths, type Env } from '../../base/paths.ts';
import { zstdProblem } from '../../compression/zstd.ts';
import type { Plan, Route, SshRoute, TlsRoute } from '../../engine-protocol/plan.ts';
import type { ProbeResult, ProbeStep, ProbeTask } from '../../engine-protocol/probe.ts';
import { asFailure, fail } from '../../errors/fail.ts';
import { HealthCheck } from '../../hello/health-check.ts';
import { ProtocolCache } from '../../hello/protocol-cache.ts';
import { endGracefully } from '../../transport/end.ts';
import { irohProblem } from '../../transport/iroh/endpoint.ts';
import { SystemRoots } from '../../transport/tls/certificates/roots.ts';
import { TlsContexts, unreachable } from '../../transport/tls/tls.ts';
import { tryIroh } from './iroh.ts';
import { Transports } from '../upstream/transports.ts';
import { unattended } from '../upstream/upstream-ssh.ts';
import { Upstreams } from '../upstream/upstreams.ts';
import { loginSteps, trySshHost } from './ssh.ts';

/** Never rejects: what goes wrong is in the result. */
export async function probe({ plan, settings }: ProbeTask, env: Env): Promise<ProbeResult> {
  const packages = [zstdProblem, irohProblem].flatMap((problem) => problem?.data ?? []);
  if (plan === undefined) return { packages, steps: [] };
  const steps: ProbeStep[] = [];
  let ended: Promise<void> | undefined;
  try {
    const { route } = plan.destination;
    const deadline = new Deadline(plan.budgetMs);
    if (route.transport === 'tls') {
      // A gateway may keep it open until its server has given up the Hello. The next steps need not wait for that.
      ended = endGracefully(await trySocket(plan, route, env, steps), LIMITS.endMs, HURRY);
    }
    if (route.transport === 'ssh')
      await trySshHost({ label: plan.destination.label, route, env, deadline }, steps);
    if (route.transport === 'iroh') await tryIroh(plan, route, settings, steps);
    const rest = route.transport === 'ssh' ? { budgetMs: deadline.remaining() } : {};
    await tryStream({ ...unattended(plan), ...rest }, { settings, env }, steps);
    return { packages, steps };
  } catch (error) {
    return { packages, steps, failure: asFailure(error).data };
  } finally {
    await ended;
  }
}

/** Somebody waits for the result, so a peer that is silent is not waited for. */
const HURRY = AbortSignal.abort();

/** Name, TCP, TLS and trust, on a connection of its own. */
async function trySocket(plan: Plan, route: TlsRoute, env: Env, steps: ProbeStep[]): Promise<Duplex> {
  const { label } = plan.destination;
  const roots = new SystemRoots({ env });
  // Read once by each engine, and not by each dial.
  await roots.current();
  const dialling = { deadline: new Deadline(plan.budgetMs), signal: new AbortController().signal };
  if (isIP(route.host) === 0) {
    const since = performance.now();
    const found = await inTime(lookup(route.host, { all: true }), dialling.deadline.remaining(), () =>
      fail('tls_connect_timeout', { label }),
    ).catch((error: unknown) => {
      throw unreachable(label, route.host, error);
    });
    const addresses = found.map(({ address }) => address).join(', ');
    steps.push({ step: 'dns', ms: performance.now() - since, detail: `${route.host} is ${addresses}` });
  }
  const opened = await new TlsContexts({ roots }).open(route, label, dialling);
  const { stream, connectMs, handshakeMs } = opened;
  steps.push({ step: 'tcp', ms: connectMs, detail: `${route.host} port ${String(route.port)}` });
  const by = route.trust?.pin === undefined ? 'trusted' : `pinned by the ${route.trust.pin.from}`;
  steps.push({ step: 'tls', ms: handshakeMs, detail: `${route.serverName}, ${by}` });
  return stream;
}

/** How the name of a folder of this process begins. */
const NAME = 'bmuxd-';

/** Connection with SSH auth, Hello in every epoch and compression, and a Ping. */
async function tryStream(
  plan: Plan,
  { settings, env }: { readonly settings: ProbeTask['settings']; readonly env: Env },
  steps: ProbeStep[],
): Promise<void> {
  const log = makeLogger({ level: 'fatal', process: 'probe', sink: { write: () => undefined } });
  const event = (): void => undefined;
  // TMPDIR may name a folder that is gone, which keeps no daemon from its work.
  const folder = await mkdtemp(join(tmpdir(), NAME)).catch(() => mkdtemp(join('/tmp', NAME)));
  const { dir } = bmuxdPaths(env);
  // Beside the connections that `bmuxd login` has made.
  const runtimeDir = existsSync(join(dir, 'ssh')) ? dir : folder;
  const generation = `probe-${String(process.pid)}`;
  const transports = new Transports({
    settings: () => settings,
    env,
    event,
    ssh: {
      engineSocket: join(runtimeDir, 'engines', `${generation}.sock`),
      generation,
      isAlive: () => Promise.resolve(true),
      isLast: () => Promise.resolve(false),
      // All are of the group of this process.
      lead: false,
      onLogin: loginSteps(steps),
    },
    log,
  });
  const protocolCache = new ProtocolCache({ path: join(folder, 'protocol-cache.json'), log });
  const upstreams = new Upstreams({
    transports,
    protocolCache,
    settings: () => settings,
    log,
    event,
    ask: () => false,
  });
  try {
    const begun = performance.now();
    const before = msOf(steps);
    let connected: number | undefined;
    const { stream, candidate } = await upstreams
      .for(plan.destination)
      .openByDetection(plan, new AbortController().signal, (step) => {
        if (step !== 'protocol detection' || connected !== undefined) return;
        const { route } = plan.destination;
        const spent = route.transport === 'ssh' ? msOf(steps) - before : 0;
        connected = performance.now();
        steps.push({
          step: route.transport === 'ssh' ? 'bmux' : 'connect',
          ms: connected - begun - spent,
          detail: route.transport === 'ssh' ? bmuxOf(route, transports) : wayOf(route),
        });
      });
    const { epoch, compression } = candidate;
    steps.push({
      step: 'hello',
      ms: performance.now() - (connected ?? begun),
      detail: `epoch ${String(epoch)}, compression ${compression}`,
    });
    stream.resume();
    const ms = await new HealthCheck(stream, epoch).check(LIMITS.reachMs);
    steps.push({ step: 'round trip', ms, detail: 'a Ping and its answer' });
    await endGracefully(stream, LIMITS.endMs);
  } finally {
    upstreams.hurry();
    await upstreams.close();
    await rm(folder, { recursive: true, force: true });
  }
}

function msOf(steps: readonly ProbeStep[]): number {
  return steps.reduce((sum, { ms }) => sum + ms, 0);
}

function bmuxOf(route: SshRoute, transports: Transports): string {
  const version = transports.ssh.found(route)?.version;
  return version === undefined ? 'a forced command answers' : `${version} as ${route.remoteBmuxPath}`;
}

function wayOf(route: Exclude<Route, SshRoute>): string {
  switch (route.transport) {
    case 'local':
      return route.socketPath;
    case 'tls':
      return `${route.host}:${String(route.port)}`;
    case 'iroh': {
      const ways = [
        ...(route.ipAddr === undefined ? [] : [`direct ${route.ipAddr}`]),
        ...(route.relayUrl === undefined ? [] : [`relay ${route.relayUrl}`]),
      ];
      const way = ways.length === 0 ? 'found by its endpoint id' : ways.join(' or ');
      return route.sshAuth ? `${way}, with SSH auth` : way;
    }
  }
}
