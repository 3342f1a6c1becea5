// Many clients of the streams socket in one process: at SIGUSR2 they connect, and each sends the same request.
import { connect } from 'node:net';

export interface CrowdOptions {
  readonly path: string;
  readonly request: string;
  readonly clients: number;
  /** ms in which they connect, one after the other; 0: all at once. */
  readonly overMs: number;
}

const { path, request, clients, overMs } = JSON.parse(process.argv[2] ?? '{}') as CrowdOptions;

function ask(): void {
  connect(path)
    .on('error', () => undefined)
    .resume()
    .write(request);
}

process.on('SIGUSR2', () => {
  const since = performance.now();
  let asked = 0;
  const timer = setInterval(() => {
    const due = overMs === 0 ? clients : Math.min(clients, ((performance.now() - since) / overMs) * clients);
    for (; asked < due; asked += 1) ask();
    if (asked === clients) clearInterval(timer);
  }, 1);
});
setInterval(() => undefined, 60_000);
process.stdout.write('{}\n');
