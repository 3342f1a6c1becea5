// A client that downloads until it is killed, while something else is measured. argv[2]: DownloadOptions.
import type { Duplex } from 'node:stream';
import { openStream } from '../../client-shim/index.ts';
import { greet, order } from '../rig/bulk-order.ts';
import { connectUnix } from '../rig/plain.ts';

export interface DownloadOptions {
  /** Through the broker, or directly from a Unix socket. */
  readonly from: { readonly socketPath: string; readonly target: string } | { readonly path: string };
}

const { from } = JSON.parse(process.argv[2] ?? '{}') as DownloadOptions;

async function connected(): Promise<Duplex> {
  if ('target' in from) return (await openStream(from)).stream;
  const socket = await connectUnix(from.path);
  await greet(socket);
  return socket;
}

const stream = await connected();
await order(stream, { way: 'down', bytes: Number.MAX_SAFE_INTEGER, kind: 'noise' });
let announced = false;
stream.on('data', () => {
  if (announced) return;
  announced = true;
  process.stdout.write('{}\n');
});
stream.on('close', () => process.exit(1));
stream.resume();
