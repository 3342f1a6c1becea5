// Tries the way to an iroh host step by step: relay, host, path, SSH auth. It is a connection of its own, on which no stream to a server is opened.
import { connect } from 'node:net';
import { Deadline } from '../../base/async/deadline.ts';
import { textOf } from '../../base/failure.ts';
import { LIMITS } from '../../base/limits.ts';
import type { Settings } from '../../config/settings/table.ts';
import type { Destination, IrohRoute } from '../../engine-protocol/plan.ts';
import type { ProbeStep } from '../../engine-protocol/probe.ts';
import { fail } from '../../errors/fail.ts';
import { established, type Dialling } from '../../transport/dialling.ts';
import { IrohEndpoint } from '../../transport/iroh/endpoint.ts';
import { authenticate } from '../../transport/ssh-auth/authenticate.ts';

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
  const problem = route.relayUrl === undefined ? undefined : await relayProblem(route.relayUrl, dialling);
  if (route.relayUrl !== undefined)
    told(
      'relay',
      `${route.relayUrl} ${problem === undefined ? 'answers' : `does not answer: ${textOf(problem)}`}`,
    );
  const endpoint = await IrohEndpoint.bind({ relays: settings['iroh.relays'] });
  try {
    const connection = await endpoint.connect(route, label, dialling).catch((error: unknown) => {
      if (problem === undefined) throw error;
      throw fail('iroh_relay_unreachable', { label, url: route.relayUrl ?? '' }, problem);
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
