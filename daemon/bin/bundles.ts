// Which bundle has which commands (test/house/bundle.mjs). Node takes longer to load a bundle of all than most commands run.

/** What is not here is in `bmuxd-all`. */
export const COMMANDS_IN: Readonly<Record<string, readonly string[]>> = {
  'bmuxd-status': ['status'],
  'bmuxd-quick': ['--version', '-V', 'env', 'exec', 'sh-exec', 'shell-init'],
  // They need the daemon's modules.
  'bmuxd-daemon': ['run', 'doctor'],
};

/** The bundle of a command. */
export function bundleOf(command: string): string {
  return Object.keys(COMMANDS_IN).find((name) => COMMANDS_IN[name]?.includes(command)) ?? 'bmuxd-all';
}
