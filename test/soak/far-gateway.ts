// One of the targets whose gateways can be started again: what the config says of it, and what is asked there.
import { targetToml } from '../target-sockets/ways.ts';
import type { Question } from '../real/index.ts';

/** One target. */
export interface FarGateway {
  readonly target: string;
  /** What bmux.toml says of it now: an iroh host is another endpoint after each start, and is reached through a share link. */
  readonly config: () => { readonly table: string; readonly text: string };
  /** What the texts of the daemon call it now. */
  readonly label: () => string;
  /** Ends it and starts it again, after `awayMs`. */
  readonly restart: (signal: NodeJS.Signals, awayMs: number) => Promise<void>;
  /** What `bmux list-sessions` asks; none where an embedded server is there. */
  readonly sessions?: Question;
}

/** A session of the real server: what is answered must be its own. */
export const SESSION = 'soaked';

/** A share link that leads to the URL of now. */
export const linked = (name: string, url: () => string): Pick<FarGateway, 'target' | 'config' | 'label'> => ({
  target: `bmux://${name}`,
  config: () => ({ table: 'links', text: `${name} = ${JSON.stringify(url())}\n` }),
  label: url,
});

/** A target of the config that stays as it is. */
export const configured = (
  target: string,
  fields: Parameters<typeof targetToml>[1],
): Pick<FarGateway, 'target' | 'config' | 'label'> => ({
  target,
  config: () => ({ table: 'targets', text: targetToml(target, fields) }),
  label: () => target,
});
