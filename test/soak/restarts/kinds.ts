// The ways in which a daemon is restarted. Each resolves when the next control process answers and the former one has left.
import { spawn } from 'node:child_process';
import { isRunning } from '../../../daemon/base/process/identity.ts';
import { sleep } from '../../../daemon/base/async/sleep.ts';
import { packageVersion } from '../../../daemon/base/version.ts';
import type { Health } from '../../../daemon/api/answers.ts';
import type { World } from '../../engine/world.ts';
import { waitFor } from '../../real/index.ts';

/** ms that a wait may take on a busy machine. */
export const PATIENCE_MS = 60_000;
/** ms of `nothing`: about as long as a restart takes. */
const NOTHING_MS = 2500;

/** `nothing` shows what the others are compared with. */
export const KINDS = ['nothing', 'restart', 'replace', 'kill', 'term', 'upgrade'] as const;
/** Those of a service manager that holds the sockets. */
export const ACTIVATED_KINDS = ['nothing', 'kill', 'term'] as const;
export type Kind = (typeof KINDS)[number];

/** Error: a restart was noticed. */
export class Noticed extends Error {
  override readonly name = 'restart_noticed';
}

export interface Site {
  readonly world: World;
  readonly program: string;
  readonly setVersion: (to: string) => Promise<void>;
}

export class Restarts {
  readonly #site: Site;
  /** The pid of the present control process. */
  #pid: number;
  #versions = 0;

  constructor(site: Site) {
    this.#site = site;
    this.#pid = site.world.bmuxd.pid;
  }

  async next(kind: Kind): Promise<void> {
    if (kind === 'nothing') {
      await sleep(NOTHING_MS);
      return;
    }
    const { setVersion } = this.#site;
    if (kind === 'upgrade') await setVersion(`${packageVersion()}-next.${String((this.#versions += 1))}`);
    const former = this.#pid;
    if (kind === 'kill' || kind === 'term') {
      process.kill(former, kind === 'kill' ? 'SIGKILL' : 'SIGTERM');
      await waitFor('control to end', () => !isRunning({ pid: former }), PATIENCE_MS);
    }
    await this.#start(kind);
    await waitFor('the former one to leave', () => !isRunning({ pid: former }), PATIENCE_MS);
    await waitFor(
      'the next one to answer',
      async () => {
        const health = await this.#site.world.bmuxd.http('GET', '/v1/health').catch(() => undefined);
        this.#pid = (health?.body as Health | undefined)?.pid ?? former;
        return this.#pid !== former;
      },
      PATIENCE_MS,
    );
  }

  async #start(kind: Kind): Promise<void> {
    const { world, program } = this.#site;
    const { bmuxd } = world;
    if (bmuxd.passed !== undefined) {
      bmuxd.passed.start(program, bmuxd.env).unref();
      return;
    }
    if (kind === 'replace') {
      spawn(process.execPath, [program, 'run', '--replace', '--log-file', `${bmuxd.folder}/replaced.log`], {
        env: { ...bmuxd.env },
        detached: true,
        stdio: 'ignore',
      }).unref();
      return;
    }
    const isAway = kind === 'kill' || kind === 'term';
    const { status, stderr } = await bmuxd.bmuxd([isAway ? 'start' : 'restart']);
    if (status !== 0) throw new Noticed(`${kind}: ${stderr}`);
  }
}
