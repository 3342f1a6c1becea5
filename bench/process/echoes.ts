// Times the echoes of one stream, one after the other, in a process of its own: what others do in theirs must not count. Appends the ms of each
// to a file.
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { openStream } from '../../client-shim/index.ts';
import { sleep } from '../../daemon/base/async/sleep.ts';
import { ECHO, order } from '../rig/bulk-order.ts';

export interface EchoesOptions {
  /** Of a caller of the daemon. */
  readonly env: Readonly<Record<string, string>>;
  readonly target: string;
  readonly file: string;
}

const KEY = Buffer.from('k');

const { env, target, file } = JSON.parse(process.argv[2] ?? '{}') as EchoesOptions;
const { stream } = await openStream({ env, target });
await order(stream, ECHO);
stream.resume();
process.stdout.write('{}\n');
for (;;) {
  const start = performance.now();
  const echoed = once(stream, 'data', { signal: AbortSignal.timeout(60_000) });
  stream.write(KEY);
  await echoed;
  appendFileSync(file, `${String(performance.now() - start)}\n`);
  await sleep(1);
}
