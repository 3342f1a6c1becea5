// Tries the way to an iroh host step by step: relay, host, path, SSH auth. It is a connection of its own, on which no stream to a server is opened.
import { connect } from 'node:net';
import { Deadline, inTime } from '../../base/async/deadline.ts';
import { Failure, textOf } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Settings } from '../../config/settings/table.ts';
import type { Destination, IrohRoute } from '../../engine-protocol/plan.ts';
import type { ProbeStep } from '../../engine-protocol/probe.ts';
import { fail } from '../../errors/fail.ts';
import { established, type Dialling } from '../../transport/dialling.ts';
import { HostDirectory } from '../../transport/iroh/host-directory.ts';
import { IrohEndpoint } from '../../transport/iroh/endpoint.ts';
import { nobodyListens } from '../../transport/iroh/way-check.ts';
import { authenticate } from '../../transport/ssh-auth/authenticate.ts';

/** What is told of a host that was not reached, unless it is known why. */
const UNREACHED: ReadonlySet<string> = new Set(['iroh_unreachable', 'iroh_connect_timeout']);

export async function tryIroh(
  plan: { readonly destination: Pick<Destination, 'label'>; readonly budgetMs: number },
  route: IrohRoute,
  settings: Settings,
  steps: ProbeStep[],
): Promise<void> {
  const { label } = plan.destination;
  const dialling = { deadline: new Deadline(plan.budgetMs), signal: new AbortController().signal };
  let since = performance.now();
  const told = (step: string, detail: string): void => {
    const now = performance.now();
    steps.push({ step, ms: now - since, detail });
    since = now;
  };
  const problem = await wayProblem(route, label, dialling, told);
  const endpoint = await IrohEndpoint.bind({ relays: settings['iroh.relays'] });
  try {
    const connection = await endpoint.connect(route, label, dialling).catch(async (error: unknown) => {
      const unreached =
        error instanceof Failure && UNREACHED.has(error.code) && error.data.class !== 'offline';
      if (!unreached) throw error;
      throw problem ?? (await nobodyListens(route, label)) ?? error;
    });
    told('host', `${route.endpointId.slice(0, 10)}… answers`);
    steps.push({ step: 'path', ms: connection.rttMs() ?? 0, detail: connection.path() ?? 'not known yet' });
    if (!route.sshAuth) return;
    const stream = await connection.openStream(dialling);
    const identity = await authenticate(stream, { agentSocket: route.agentSocket, label, ...dialling });
    told('auth', `${identity.fingerprint} ${identity.comment}`.trimEnd());
  } finally {
    await endpoint.close(LIMITS.endMs);
  }
}

/** Tells whether the relay of the route can be reached, or, where an endpoint id is all that is known of the host, whether DNS knows it. */
async function wayProblem(
  { endpointId, relayUrl, ipAddr }: IrohRoute,
  label: string,
  dialling: Dialling,
  told: (step: string, detail: string) => void,
): Promise<Failure | undefined> {
  if (relayUrl !== undefined) {
    const why = await relayProblem(relayUrl, dialling);
    told('relay', `${relayUrl} ${why === undefined ? 'answers' : `does not answer: ${textOf(why)}`}`);
    return why === undefined ? undefined : fail('iroh_relay_unreachable', { label, url: relayUrl }, why);
  }
  if (ipAddr !== undefined) return undefined;
  const directory = new HostDirectory();
  const late = directory.silent(label);
  const limitMs = dialling.deadline.within(LIMITS.relayAskedMs);
  const problem = await inTime(directory.problem(endpointId, label), limitMs, () => late).catch(() => late);
  directory.close();
  told('dns', problem?.data.causes[0] ?? 'knows the host by its endpoint id');
  return problem;
}

/** Why the relay cannot be reached; undefined when it can. Nothing is sent to it. */
async function relayProblem(relayUrl: string, { deadline, signal }: Dialling): Promise<Error | undefined> {
  if (!URL.canParse(relayUrl)) return undefined;
  const url = new URL(relayUrl);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const socket = connect(Number(url.port || (url.protocol === 'http:' ? 80 : 443)), host);
  const limits = { deadline: new Deadline(deadline.within(LIMITS.relayAskedMs)), signal };
  try {
    await established(socket, 'connect', limits, () => new Error(`no answer from the relay ${url.host}`));
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(textOf(error));
  } finally {
    socket.destroy();
  }
}
