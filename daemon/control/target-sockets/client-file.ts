// Which contexts have target sockets, remembered over restarts: environments by the whitelist, so no secrets (design.md "Contexts").
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import { errnoOf, textOf } from '../../base/failure.ts';
import { withoutCredentials } from '../../base/redact.ts';
import { ENV_WHITELIST, type CallerEnv } from '../../api/request.ts';

const VERSION = 1;
/** A file larger than this is not ours: 32 contexts take about 50 KB. */
const MAX_BYTES = 1024 * 1024;

const ContextSchema = Type.Object({
  env: Type.Object(Object.fromEntries(ENV_WHITELIST.map((name) => [name, Type.Optional(Type.String())]))),
  cwd: Type.Optional(Type.String()),
  slot: Type.Optional(Type.String()),
  /** Targets outside the config that somebody asked a socket for. */
  inline: Type.Array(Type.String(), { maxItems: 256 }),
  /** Added later: a file without them is as good. */
  earlierAgents: Type.Optional(Type.Array(Type.String(), { maxItems: 16 })),
  folder: Type.Optional(Type.String()),
});
const FileSchema = Type.Object({ version: Type.Literal(VERSION), contexts: Type.Array(ContextSchema) });

export interface KnownContext {
  readonly env: CallerEnv;
  readonly cwd: string | undefined;
  readonly slot: string | undefined;
  readonly inline: readonly string[];
  /** SSH_AUTH_SOCK of callers before the one whose environment this is, the latest first. */
  readonly earlierAgents: readonly string[];
  /** Name of the folder of its target sockets: shells have it, whatever the files make read by now. */
  readonly folder: string | undefined;
}

export class KnownContexts {
  readonly #path: string;
  readonly #warn: (message: string) => void;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: { readonly path: string; readonly warn: (message: string) => void }) {
    this.#path = options.path;
    this.#warn = options.warn;
  }

  /** What was remembered; nothing when there is no file or it is not readable, which is said. Never rejects. */
  async load(): Promise<KnownContext[]> {
    try {
      const text = await readFile(this.#path, 'utf8');
      const parsed: unknown = text.length > MAX_BYTES ? undefined : JSON.parse(text);
      if (!Value.Check(FileSchema, parsed)) throw new Error('it does not hold what it should');
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
        this.#warn(`the contexts in ${this.#path} are forgotten: ${textOf(error)}`);
      return [];
    }
  }

  /** Replaces the file in one step. Never rejects; the last call wins. */
  save(contexts: readonly KnownContext[]): Promise<void> {
    const text = `${JSON.stringify({ version: VERSION, contexts: contexts.map(withoutSecrets) }, null, 1)}\n`;
    this.#writing = this.#writing.then(async () => {
      try {
        await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
        const temporary = `${this.#path}.${String(process.pid)}.tmp`;
        await writeFile(temporary, text, { mode: 0o600 });
        await rename(temporary, this.#path);
      } catch (error) {
        this.#warn(`cannot remember the contexts in ${this.#path}: ${textOf(error)}`);
      }
    });
    return this.#writing;
  }
}

/** URLs may hold a user and a password. A lookup never sends those of the control plane; an inline target is asked for anew. */
function withoutSecrets(context: KnownContext): KnownContext {
  const { BMUX_CONTROL_PLANE_URL: url, ...env } = context.env;
  return {
    ...context,
    env: url === undefined ? env : { ...env, BMUX_CONTROL_PLANE_URL: withoutCredentials(url) },
    inline: context.inline.filter((target) => withoutCredentials(target) === target),
  };
}
