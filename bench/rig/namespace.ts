// A real iroh gateway in its own network namespace, behind a bridge that delays datagrams. Without the namespace, iroh finds the direct path
// and bypasses the delay. Unix sockets are not scoped by namespaces, so the two halves of the bridge use one.
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as real from '../../test/real/index.ts';
import { realEnv } from '../../test/real/server.ts';
import { dialIroh } from './plain.ts';
import type { Far } from './far.ts';
import { Skip } from '../measure.ts';
import { udpPath } from './path.ts';
import { baseEnv, programPath, startProgram } from './processes.ts';
import type { UdpRelayOptions } from '../process/udp-relay.ts';

interface Namespace {
  /** The command that runs `command args…` in the namespace. */
  inside(command: string, args: readonly string[]): { readonly command: string; readonly args: string[] };
  stop(): Promise<void>;
}

/** A namespace with only its own loopback. Throws a Skip where that is not allowed. */
async function makeNamespace(): Promise<Namespace> {
  const ip = real.onPath('ip') ?? '/usr/sbin/ip';
  const name = `bmuxd-bench-${String(process.pid)}-${String(Math.floor(performance.now()))}`;
  const made = await real.run(ip, ['netns', 'add', name], baseEnv());
  if (made.status !== 0)
    throw new Skip(`network namespaces are not allowed here (${made.stderr.trim() || 'no ip'})`);
  const remove = (): void => {
    try {
      execFileSync(ip, ['netns', 'del', name], { stdio: 'ignore' });
    } catch {
      // It has been removed already.
    }
  };
  // A bench that dies must not leave the namespace behind.
  process.once('exit', remove);
  const up = await real.run(ip, ['netns', 'exec', name, ip, 'link', 'set', 'lo', 'up'], baseEnv());
  if (up.status !== 0) {
    remove();
    throw new Skip(`a namespace without a loopback (${up.stderr.trim()})`);
  }
  return {
    inside: (command, args) => ({ command: ip, args: ['netns', 'exec', name, command, ...args] }),
    stop: () => {
      process.off('exit', remove);
      remove();
      return Promise.resolve();
    },
  };
}

/** The real server and its iroh gateway in a namespace, with `roundTripMs` between the gateway and clients outside. */
export async function startFarIroh(roundTripMs: number): Promise<Far> {
  const program = real.realBmux();
  if (program === undefined) throw new Skip('real bmux not found');
  const ends: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const end of ends.splice(0).reverse()) await end().catch(() => undefined);
  };
  try {
    const namespace = await makeNamespace();
    ends.push(() => namespace.stop());
    const server = await real.startServer();
    ends.push(() => server.stop());
    const folder = await mkdtemp(join(tmpdir(), 'bmuxd-namespace-'));
    ends.push(() => rm(folder, { recursive: true, force: true }));
    const gatewayEnv = {
      ...(await realEnv(folder)),
      BMUX_RUNTIME_DIR: server.env['BMUX_RUNTIME_DIR'] ?? '',
      BMUX_IROH_DIRECT_BIND: '127.0.0.1:0',
    };
    const gateway = await real.startChild({
      ...namespace.inside(program, ['server', 'gateway', '--listen', '127.0.0.1:1', '--host']),
      env: gatewayEnv,
      ready: (output) => /connect URL: \S+\s/.test(output),
    });
    ends.push(() => gateway.stop());
    const [, endpointId = '', port = ''] =
      /connect URL: iroh:\/\/([0-9a-z]+)\?.*?addr=127\.0\.0\.1:(\d+)/.exec(gateway.output()) ?? [];
    if (endpointId === '') throw new Error(`no address in what the gateway said:\n${gateway.output()}`);

    const link = { path: join(folder, 'link.sock'), holdMs: roundTripMs / 2 };
    const outer = await startProgram('udp-relay', { ...link, side: 'outer' });
    ends.push(() => outer.stop());
    const options: UdpRelayOptions = {
      ...link,
      side: 'inner',
      to: { host: '127.0.0.1', port: Number(port) },
    };
    const inner = await real.startChild({
      ...namespace.inside(process.execPath, [programPath('udp-relay'), JSON.stringify(options)]),
      env: baseEnv(),
      ready: (output) => output.includes('{'),
    });
    ends.push(() => inner.stop());

    const path = udpPath(outer.ready.port);
    ends.push(() => path.stop());
    const ipAddr = `127.0.0.1:${String(outer.ready.port)}`;
    return {
      way: 'iroh',
      server: 'real bmux',
      target: 'far',
      config: `[connections.targets.far]\ntransport = "iroh"\nendpoint_id = "${endpointId}"\niroh_ip_addr = "${ipAddr}"\n`,
      env: {},
      socketPath: server.socketPath,
      clientEnv: server.env,
      plain: () => dialIroh({ transport: 'iroh', endpointId, ipAddr, sshAuth: false }, 'zstd'),
      path,
      unknown: () => Promise.reject(new Skip('only a TLS target gets another address')),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
