// The commands of bmux that `bmuxd shell-init` lets through a target socket: those that ask the server of a session, and nothing else. Every
// other command is left as it is: it works with files of this machine, starts or ends something, or reaches its targets by itself.

/** Without a command, bmux attaches. */
export const THROUGH: readonly string[] = [
  '',
  'attach', 'detach', 'follow', 'unfollow', 'session',
  'new-session', 'list-sessions', 'list-clients', 'kill-session', 'kill-all-sessions',
  'permissions', 'permissions-current', 'grant', 'revoke',
  'hot-path-policy', 'grant-hot-path-override', 'revoke-hot-path-override', 'list-hot-path-overrides',
  'new-tab', 'tab', 'rename-tab', 'rename-tab-by-id', 'list-tabs', 'kill-tab', 'kill-all-tabs',
  'switch-tab', 'move-tab', 'next-tab', 'prev-tab', 'last-tab', 'goto-tab', 'close-current-tab', 'reset-order',
  'focus-pane-in-direction', 'split-pane', 'resize-pane', 'zoom-pane', 'close-active-pane', 'restart-pane', 'pane-padding',
  'list-floating-panes', 'create-floating-pane', 'focus-floating-pane', 'raise-floating-pane', 'lower-floating-pane',
  'focus-next-floating-pane', 'raise-active-floating-pane', 'lower-active-floating-pane', 'close-active-floating-pane',
  'move-floating-pane', 'resize-floating-pane', 'move-active-floating-pane', 'resize-active-floating-pane',
  'set-floating-pane-z', 'set-floating-pane-layer', 'close-floating-pane',
  'workspace',
]; // oxfmt-ignore

/** Those of which only some subcommands go through. */
export const THROUGH_WITH: Readonly<Record<string, readonly string[]>> = {
  server: ['status', 'whoami-principal', 'save'],
  perf: ['status', 'on', 'off'],
};

/** All others. A command that is in no list is left as it is, too. */
export const UNTOUCHED: readonly string[] = [
  'setup', 'host', 'join', 'hosts', 'auth', 'access', 'kiosk', 'share', 'unshare', 'connect', 'remote',
  'logs', 'diagnostics', 'config', 'doctor', 'keymap', 'terminal', 'playbook', 'sandbox', 'slot', 'env', 'device-seal-broker',
  'plugin', 'prompted-action', 'record', 'recording', 'explain-spawn-directory', 'theme', 'help',
]; // oxfmt-ignore

/** Options that stand before or after the command and take the next word. */
export const VALUED: readonly string[] = ['--log-level'];

/** With one of these, bmux is left as it is: they choose another config or runtime, or ask for no server. */
export const LEAVES: readonly string[] = ['--config', '--runtime', '-h', '--help', '-V', '--version'];

/** How a target begins that bmuxd reaches without a config. */
export const SCHEMES: readonly string[] = ['tls://', 'https://', 'iroh://', 'bmux://'];
