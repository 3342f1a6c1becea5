// Stores the clients of target sockets in a file, so that a restart keeps them. Only whitelisted environment variables are stored, no secrets.
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import { ENV_WHITELIST, type CallerEnv } from '../../../api/request.ts';
import { errnoOf, textOf, type Failure } from '../../../base/failure.ts';
import { writeAtomic } from '../../../base/files/atomic-file.ts';
import { refuseForeignFile } from '../../../base/files/path-problem.ts';
import { RetriedWrite } from '../../../base/files/retried-write.ts';
import { readBounded } from '../../../base/files/read-bounded.ts';
import { withoutCredentials } from '../../../base/redact.ts';
import { fail } from '../../../errors/fail.ts';

const VERSION = 1;
/** bmuxd writes no file larger than this: 32 contexts take about 50 KB. */
const MAX_BYTES = 1024 * 1024;

const ContextSchema = Type.Object({
  env: Type.Object(Object.fromEntries(ENV_WHITELIST.map((name) => [name, Type.Optional(Type.String())]))),
  cwd: Type.Optional(Type.String()),
  slot: Type.Optional(Type.String()),
  /** Targets that are not in the config but for which a client has a target socket. */
  inline: Type.Array(Type.String(), { maxItems: 256 }),
  /** Added in a later version: a file without these two is valid. */
  earlierAgents: Type.Optional(Type.Array(Type.String(), { maxItems: 16 })),
  folder: Type.Optional(Type.String()),
});
const FileSchema = Type.Object({ version: Type.Literal(VERSION), contexts: Type.Array(ContextSchema) });

/** The stored data of the clients of one context. */
export interface RememberedClients {
  readonly env: CallerEnv;
  readonly cwd: string | undefined;
  readonly slot: string | undefined;
  readonly inline: readonly string[];
  /** SSH_AUTH_SOCK of earlier clients, the latest first. `env` is the environment of the last client. */
  readonly earlierAgents: readonly string[];
  /** Name of the folder of the target sockets. Kept because shells have paths into it, even when the files of the context have changed. */
  readonly folder: string | undefined;
}

export interface ClientFileOptions {
  readonly path: string;
  readonly log: { warn(message: string): void };
}

export class ClientFile {
  readonly #path: string;
  readonly #log: ClientFileOptions['log'];
  readonly #writing: RetriedWrite;
  #clients: readonly RememberedClients[] = [];

  constructor(options: ClientFileOptions) {
    this.#path = options.path;
    this.#log = options.log;
    this.#writing = new RetriedWrite({
      write: () => this.#write(),
      onFailure: (why) => {
        this.#log.warn(`cannot save the contexts in ${this.#path}: ${why}`);
      },
    });
  }

  /** The saved clients; none when there is no file. A file that cannot be read is logged and ignored. Never rejects. */
  async load(): Promise<RememberedClients[]> {
    try {
      const parsed: unknown = JSON.parse(
        (await readBounded(this.#path, MAX_BYTES, refuseForeignFile)).toString('utf8'),
      );
      if (!Value.Check(FileSchema, parsed)) throw new Error('it does not have the expected form');
      return parsed.contexts.map((context: Static<typeof ContextSchema>) => ({
        env: context.env,
        cwd: context.cwd,
        slot: context.slot,
        inline: context.inline,
        earlierAgents: context.earlierAgents ?? [],
        folder: context.folder,
      }));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT')
        this.#log.warn(`the contexts in ${this.#path} are ignored: ${textOf(error)}`);
      return [];
    }
  }

  /** A cause of `degraded`: the file could not be written. */
  get problem(): Failure | undefined {
    const { why } = this.#writing;
    return why === undefined ? undefined : fail('state_unwritable', { path: this.#path, why });
  }

  /**
   * Replaces the file in one step. Of concurrent calls the last one takes effect. Never rejects: a failure is logged, and the file is
   * written later.
   */
  save(clients: readonly RememberedClients[]): Promise<void> {
    this.#clients = clients;
    return this.#writing.request();
  }

  /** Ends the attempts to write after a failure. */
  close(): void {
    this.#writing.close();
  }

  async #write(): Promise<void> {
    const contexts = this.#clients.map(withoutSecrets);
    await writeAtomic(this.#path, `${JSON.stringify({ version: VERSION, contexts }, null, 1)}\n`);
  }
}

/**
 * Removes credentials, because URLs may contain a user and a password. Lookups never send those of the control plane URL. An inline target
 * with credentials is not stored.
 */
function withoutSecrets(clients: RememberedClients): RememberedClients {
  const { BMUX_CONTROL_PLANE_URL: url, ...env } = clients.env;
  return {
    ...clients,
    env: url === undefined ? env : { ...env, BMUX_CONTROL_PLANE_URL: withoutCredentials(url) },
    inline: clients.inline.filter((target) => withoutCredentials(target) === target),
  };
}
