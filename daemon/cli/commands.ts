// The table of commands, in the order of the help. Each command is loaded when it is needed, because loading all takes longer than most run.
import type { Command } from './command.ts';

const LOADERS: Readonly<Record<string, () => Promise<Command>>> = {
  run: async () => (await import('./commands/run.ts')).run,
  status: async () => (await import('./commands/status.ts')).status,
  env: async () => (await import('./commands/env.ts')).env,
  exec: async () => (await import('./commands/env.ts')).exec,
  warm: async () => (await import('./commands/warm.ts')).warm,
  drop: async () => (await import('./commands/warm.ts')).drop,
  trust: async () => (await import('./commands/trust.ts')).trust,
  targets: async () => (await import('./commands/lists.ts')).targets,
  streams: async () => (await import('./commands/lists.ts')).streams,
  events: async () => (await import('./commands/events.ts')).events,
  reload: async () => (await import('./commands/stop.ts')).reload,
  stop: async () => (await import('./commands/stop.ts')).stop,
  meta: async () => (await import('./commands/meta.ts')).meta,
};

/** The command with this name; undefined when there is none. */
export async function commandNamed(name: string): Promise<Command | undefined> {
  return Object.hasOwn(LOADERS, name) ? LOADERS[name]?.() : undefined;
}

/** All commands, in the order of the help. */
export function allCommands(): Promise<Command[]> {
  return Promise.all(Object.values(LOADERS).map((load) => load()));
}
