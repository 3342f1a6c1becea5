// Measures the echo of one stream, in a process of its own: what the others do in theirs must not count. argv[2]: EchoOrder as JSON. Prints
// the ms of all echoes as JSON.
import { setTimeout as wait } from 'node:timers/promises';
import { Incoming, rawModeFrame, requestHead } from '../../streams/requests.ts';

export interface EchoOrder {
  readonly streamsPath: string;
  readonly env: Readonly<Record<string, string>>;
  readonly target: string;
  readonly ms: number;
}

const ECHO_EVERY_MS = 10;

const { streamsPath, env, target, ms } = JSON.parse(process.argv[2] ?? '') as EchoOrder;
const incoming = new Incoming(streamsPath);
incoming.socket.write(requestHead({ env }, { target }));
incoming.socket.write(rawModeFrame({ type: 'echo' }));
const { status, head } = await incoming.answer();
if (status !== 101) throw new Error(head);
await incoming.frame();
const echoMs: number[] = [];
const until = performance.now() + ms;
while (performance.now() < until) {
  const since = performance.now();
  incoming.socket.write('x');
  await incoming.bytes(1);
  echoMs.push(performance.now() - since);
  await wait(ECHO_EVERY_MS);
}
incoming.socket.destroy();
process.stdout.write(JSON.stringify(echoMs));
