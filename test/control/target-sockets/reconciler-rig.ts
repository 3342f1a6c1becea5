// A reconciler of target sockets with real folders. The test controls the targets, the engines and the clock.
import { chmod, lstat, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Test } from 'tap';
import type { CallerEnv, StreamRequest } from '../../../daemon/api/request.ts';
import { ClientFile } from '../../../daemon/control/target-sockets/clients/client-file.ts';
import type { ContextClients } from '../../../daemon/control/target-sockets/clients/clients.ts';
import type { TargetSocketEngine } from '../../../daemon/control/target-sockets/engine.ts';
import type { ListenFor, TargetSocketPlan } from '../../../daemon/engine-protocol/messages.ts';
import { TargetSocketReconciler } from '../../../daemon/control/target-sockets/reconciler.ts';
import type { Failure } from '../../../daemon/base/failure.ts';
import { FakeClock } from '../../base/async/fake-clock.ts';
import { waitFor } from '../../real/index.ts';

/** An engine that records what it is sent. */
export class FakeEngine implements TargetSocketEngine {
  /** `listen TARGET PORT`, `update TARGET PORT`, `close TARGET`. */
  readonly said: string[] = [];
  /** Id of the target socket by target. */
  readonly ids = new Map<string, string>();
  /** Abort signals of all calls of `listen`, in order. */
  readonly signals: AbortSignal[] = [];
  /** When set, `listen` waits for it. */
  gate: Promise<void> = Promise.resolve();

  async listen(
    { targetSocket: id, destination }: Extract<ListenFor, { kind: 'target' }>,
    _: unknown,
    signal: AbortSignal,
  ): Promise<void> {
    this.said.push(`listen ${nameIn(id)} ${portOf(destination)}`);
    this.signals.push(signal);
    this.ids.set(nameIn(id), id);
    await Promise.race([
      this.gate,
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          reject(signal.reason as Error);
        });
      }),
    ]);
  }

  update(id: string, { destination }: TargetSocketPlan): void {
    this.said.push(`update ${nameIn(id)} ${portOf(destination)}`);
  }

  tell({ targetSocket }: { readonly targetSocket: string }): void {
    this.said.push(`close ${nameIn(targetSocket)}`);
  }

  /** What was sent since the last call. It is sorted, because target sockets do not wait for each other. */
  news(): string[] {
    return this.said.splice(0).sort();
  }
}

/** The target that the id of a target socket contains. */
function nameIn(id: string): string {
  return id.split('|')[1] ?? '';
}

function portOf({ route }: TargetSocketPlan['destination']): string {
  return route.transport === 'tls' ? String(route.port) : route.transport;
}

/** Data of a target socket that leads to a TLS server at `port`. */
function leadingTo(target: string, port: number): TargetSocketPlan {
  return {
    destination: {
      label: target,
      route: { transport: 'tls', host: 'h', port, serverName: 'h' },
      compression: ['none'],
      compressionStated: false,
      connectTimeoutMs: 1000,
      warnings: [],
      address: `tls:h:${String(port)}`,
      context: '00000000',
      runtime: { name: '', socket: '/run/s' },
    },
    principal: { id: 'p' },
  };
}

export type Answer = number | Failure | ((signal: AbortSignal) => Promise<number>);

export interface Rig {
  readonly dir: string;
  readonly clock: FakeClock;
  readonly reconciler: TargetSocketReconciler;
  /** Targets of the config. */
  readonly configured: Set<string>;
  /** Result of resolving each target: a port, a failure, or a function that returns one. */
  readonly leads: Map<string, Answer>;
  /** Targets that were resolved, in order. */
  readonly lookups: string[];
  /** Waits until the condition is true. */
  readonly until: (what: string, so: () => boolean | Promise<boolean>) => Promise<void>;
  /** Whether the path of a target leads to a socket. */
  readonly isThere: (target: string, folder?: string) => Promise<boolean>;
  readonly ensure: (
    target: string,
    env?: CallerEnv,
    signal?: AbortSignal,
  ) => ReturnType<TargetSocketReconciler['ensure']>;
}

export interface RigOptions {
  readonly max?: number;
  /** The folder of an earlier rig. */
  readonly dir?: string;
  /** Whether this daemon has the runtime dir. */
  readonly isOurs?: () => boolean;
}

export async function rigFor(
  t: Test,
  { max = 4, dir: earlier, isOurs = () => true }: RigOptions = {},
): Promise<Rig> {
  const dir = earlier ?? (await mkdtemp(join(tmpdir(), 'bmuxd-r-')));
  const clock = new FakeClock();
  const configured = new Set<string>();
  const leads = new Map<string, Answer>();
  const lookups: string[] = [];
  const own = { env: { HOME: dir }, cwd: dir };
  const reconciler = new TargetSocketReconciler({
    dir,
    version: '0.0.0',
    clock,
    random: () => 0.5,
    own,
    log: pino({ level: 'silent' }),
    event: () => undefined,
    instance: {
      isOurs: () => Promise.resolve(isOurs()),
      runtimeDir: { lossLevel: 'warn', problem: undefined },
    },
    maxContexts: () => max,
    file: new ClientFile({ path: join(dir, 'contexts.json'), log: { warn: (text) => t.fail(text) } }),
    targets: {
      environmentOf: ({ env, cwd, slot }: StreamRequest) => ({ env: env ?? own.env, cwd: cwd ?? dir, slot }),
      view: ({ env }) =>
        Promise.resolve({
          context: (env.HOST ?? '').padStart(8, '0'),
          reads: new Map([['HOST', env.HOST]]),
          dependsOnCaller: false,
          warnings: [],
          config: {
            connections: { targets: new Map([...configured].map((name) => [name, { transport: 'tls' }])) },
          },
        }),
      targetSocket: async (target: string, _: ContextClients, signal: AbortSignal) => {
        lookups.push(target);
        const answer = leads.get(target) ?? 1;
        if (answer instanceof Error) throw answer;
        return leadingTo(target, typeof answer === 'number' ? answer : await answer(signal));
      },
    },
  });
  t.teardown(async () => {
    await reconciler.removeAll();
    if (earlier !== undefined) return;
    for (const name of await readdir(dir, { recursive: true }))
      await chmod(join(dir, name), 0o700).catch(() => undefined);
    await rm(dir, { recursive: true, force: true });
  });
  return {
    dir,
    clock,
    reconciler,
    configured,
    leads,
    lookups,
    until: (what, so) => waitFor(what, so),
    isThere: (target, folder = 'targets') =>
      lstat(join(dir, folder, target, 'server.sock')).then(
        () => true,
        () => false,
      ),
    ensure: (target, env, signal = new AbortController().signal) =>
      reconciler.ensure({ target, ...(env === undefined ? {} : { env: { HOME: dir, ...env } }) }, signal),
  };
}

/** A promise that a test resolves. */
export function gate<T = void>(): { readonly promise: Promise<T>; readonly open: (value: T) => void } {
  let open: (value: T) => void = () => undefined;
  const promise = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { promise, open };
}
