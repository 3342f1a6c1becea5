// Counts the connections that servers behind TLS gateways have lost with engines that crashed: nobody could send a close_notify, and the
// gateway holds them until it is restarted (docs/bmux-protocol.md, "Connection limit"). Kept in a file, since they outlive control.
import { join } from 'node:path';
import { isLostConnections } from '../../../api/answer-shapes.ts';
import type { LostConnections as Row, UpstreamRow } from '../../../api/answers.ts';
import { list } from '../../../api/shape.ts';
import { writeAtomic } from '../../../base/files/atomic-file.ts';
import { refuseForeignFile } from '../../../base/files/path-problem.ts';
import { readBounded } from '../../../base/files/read-bounded.ts';
import { RetriedWrite } from '../../../base/files/retried-write.ts';
import type { Logger } from '../../../base/log.ts';
import { LruMap } from '../../../base/lru-map.ts';
import { withoutCredentials } from '../../../base/redact.ts';

/** Servers that are remembered. */
const MAX_ROWS = 64;
const MAX_BYTES = 65_536;

const isFile = list(isLostConnections);

export class LostConnections {
  readonly #path: string;
  readonly #log: Pick<Logger, 'warn' | 'debug'>;
  readonly #rows = new LruMap<string, Row>(MAX_ROWS);
  readonly #writing: RetriedWrite;

  constructor(options: { readonly stateDir: string; readonly log: Pick<Logger, 'warn' | 'debug'> }) {
    this.#path = join(options.stateDir, 'lost-connections.json');
    this.#log = options.log;
    this.#writing = new RetriedWrite({
      write: () => writeAtomic(this.#path, `${JSON.stringify(this.rows())}\n`),
      onFailure: (why) => {
        this.#log.warn({ path: this.#path, why }, 'cannot save the count of lost connections');
      },
    });
  }

  /** Reads what an earlier control process has counted. Never rejects. */
  async load(): Promise<void> {
    try {
      const text = await readBounded(this.#path, MAX_BYTES, refuseForeignFile);
      const rows: unknown = JSON.parse(text.toString('utf8'));
      if (isFile(rows)) for (const row of rows) this.#rows.set(row.address, row);
    } catch (error) {
      this.#log.debug({ path: this.#path, err: error }, 'no count of lost connections');
    }
  }

  rows(): readonly Row[] {
    return [...this.#rows].map(([, row]) => row);
  }

  /** An engine has crashed; `upstreams` is what it has told last. */
  crashed(upstreams: readonly UpstreamRow[]): void {
    const atMs = Date.now();
    for (const { address, target, transport, connections } of upstreams) {
      if (transport !== 'tls' || connections === 0) continue;
      const count = connections + (this.#rows.peek(address)?.count ?? 0);
      this.#rows.set(address, { address, target: withoutCredentials(target), count, atMs });
      this.#log.warn({ target, connections, count }, 'connections are lost at a TLS gateway');
      void this.#writing.request();
    }
  }

  /** A gateway at which nobody listened since has ended, and with it what it held. */
  heard(upstreams: readonly UpstreamRow[]): void {
    for (const { address, lastError } of upstreams) {
      const lost = this.#rows.peek(address);
      if (lost !== undefined && lastError?.class === 'refused' && lastError.atMs > lost.atMs)
        this.forget(address);
    }
  }

  forget(address: string): void {
    if (this.#rows.delete(address)) void this.#writing.request();
  }

  close(): void {
    this.#writing.close();
  }
}
