// Finds out beside a dial that takes long why it does: its relay cannot be reached, nobody listens at its address, or DNS
// does not know its host. The binding does not say it.
import { connect } from 'node:net';
import type { IrohRoute } from '../../engine-protocol/plan.ts';
import type { Failure } from '../../base/failure.ts';
import { fail } from '../../errors/fail.ts';
import { HostDirectory } from './host-directory.ts';
import { isRefused } from './refused.ts';

/** ms without an answer to a dial before its relay, address or DNS is asked. */
const AFTER_MS = 1000;

/** ms for the refusal of a datagram. */
const REFUSAL_MS = 2000;

export interface WayCheck {
  /** Why the host cannot be reached; undefined when the way is open, and as long as nobody was asked. */
  readonly problem: () => Failure | undefined;
  readonly stop: () => void;
}

/** Asks for one route. `tell` is called at once, as if there were no answer, and when there is one. Returns what ends it. */
type Ask = (tell: (problem: Failure | undefined) => void) => () => void;

/** Asks the relay of `route` after a while, else its address, else DNS, where an endpoint id is all that is known of the host. */
export function checkWay(
  { endpointId, relayUrl, ipAddr }: Pick<IrohRoute, 'endpointId' | 'relayUrl' | 'ipAddr'>,
  label: string,
  directory = (): HostDirectory => new HostDirectory(),
): WayCheck {
  let problem: Failure | undefined;
  let stop: (() => void) | undefined;
  let ask: Ask | undefined;
  if (relayUrl !== undefined) ask = askRelay(relayUrl, label);
  else if (ipAddr === undefined) ask = askDirectory(directory, endpointId, label);
  else ask = askAddress({ ipAddr }, label);
  const timer = setTimeout(() => {
    stop = ask?.((found) => {
      problem = found;
    });
  }, AFTER_MS);
  timer.unref();
  return {
    problem: () => problem,
    stop: () => {
      clearTimeout(timer);
      stop?.();
    },
  };
}

/** Connects to the relay, and sends nothing. */
function askRelay(relayUrl: string, label: string): Ask | undefined {
  if (!URL.canParse(relayUrl)) return undefined;
  const url = new URL(relayUrl);
  return (tell) => {
    const unreachable = (why: Error): void => {
      tell(fail('iroh_relay_unreachable', { label, url: relayUrl }, why));
    };
    unreachable(new Error(`no answer from the relay ${url.host}`));
    const socket = connect(
      Number(url.port || (url.protocol === 'http:' ? 80 : 443)),
      url.hostname.replace(/^\[(.*)\]$/, '$1'),
    );
    socket.on('error', unreachable);
    socket.once('connect', () => {
      tell(undefined);
      socket.destroy();
    });
    return () => socket.destroy();
  };
}

/** A system says that nobody listens at an address of its own. Silence tells nothing. */
function askAddress(route: Pick<IrohRoute, 'ipAddr'>, label: string): Ask {
  return (tell) => {
    void nobodyListens(route, label).then(tell);
    return () => undefined;
  };
}

/** The failure where the system at the address of the route says that nobody listens there; undefined otherwise. Never rejects. */
export async function nobodyListens(
  { ipAddr }: Pick<IrohRoute, 'ipAddr'>,
  label: string,
): Promise<Failure | undefined> {
  if (ipAddr === undefined || !(await isRefused(ipAddr, REFUSAL_MS))) return undefined;
  const why = Object.assign(new Error(`nobody listens at ${ipAddr}`), { code: 'ECONNREFUSED' });
  return fail('iroh_unreachable', { label }, why);
}

function askDirectory(make: () => HostDirectory, endpointId: string, label: string): Ask {
  return (tell) => {
    const directory = make();
    tell(directory.silent(label));
    void directory.problem(endpointId, label).then(tell);
    return () => {
      directory.close();
    };
  };
}
