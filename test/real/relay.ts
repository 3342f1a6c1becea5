// A real iroh relay on loopback: plain HTTP, no metrics.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accepts, freePort, startChild } from './child.ts';
import { realRelay } from './find.ts';

export interface RealRelay {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** Starts a real relay. */
export async function startRelay(): Promise<RealRelay> {
  const program = realRelay();
  if (program === undefined) throw new Error('real iroh-relay not found: skip this test');
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-relay-'));
  const port = await freePort();
  const config = join(folder, 'relay.toml');
  await writeFile(config, `http_bind_addr = "127.0.0.1:${String(port)}"\nenable_metrics = false\n`);
  const child = await startChild({
    command: program,
    args: ['--dev', '-c', config],
    env: { PATH: process.env['PATH'] ?? '', HOME: folder },
    ready: () => accepts({ host: '127.0.0.1', port }),
  });
  return {
    url: `http://127.0.0.1:${String(port)}`,
    pid: child.pid,
    stop: async () => {
      await child.stop('SIGINT', 3000);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
