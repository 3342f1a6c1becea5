// A target whose gateway can be started again: its config, and the requests for it.
import { targetToml } from '../../target-sockets/ways.ts';
import type { Question } from '../../real/index.ts';

/** One target. */
export interface FarGateway {
  readonly target: string;
  /** Its current config in bmux.toml. An iroh host gets a new endpoint id at each start, so it is reached through a share link. */
  readonly config: () => { readonly table: string; readonly text: string };
  /** Its current name in the daemon's texts. */
  readonly label: () => string;
  /** Ends it and starts it again after `awayMs`. */
  readonly restart: (signal: NodeJS.Signals, awayMs: number) => Promise<void>;
  /** The requests of `bmux list-sessions`; none for an embedded server. */
  readonly sessions?: Question;
}

/** A session of the real server, which its answers must contain. */
export const SESSION = 'soaked';

/** A share link that leads to the current URL. */
export const linked = (name: string, url: () => string): Pick<FarGateway, 'target' | 'config' | 'label'> => ({
  target: `bmux://${name}`,
  config: () => ({ table: 'links', text: `${name} = ${JSON.stringify(url())}\n` }),
  label: url,
});

/** A target whose config does not change. */
export const configured = (
  target: string,
  fields: Parameters<typeof targetToml>[1],
): Pick<FarGateway, 'target' | 'config' | 'label'> => ({
  target,
  config: () => ({ table: 'targets', text: targetToml(target, fields) }),
  label: () => target,
});
