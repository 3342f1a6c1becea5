// The first ten minutes of a new user: what is said, and what is typed. The page docs/first-ten-minutes.md is made from it.

export interface Step {
  /** What the page says before it. */
  readonly text: string;
  /** What is typed, as lines of one shell. */
  readonly typed: readonly string[];
  /** What comes after it; a step without a command has none. */
  readonly after?: string;
  /** The exit status; default 0. */
  readonly status?: number;
  /** True for what npm prints, which differs from release to release. */
  readonly hidden?: boolean;
}

/** `bmux.toml` of the user, before bmuxd is there. */
export function configOf(port: number): string {
  return `[connections.targets.prod]
transport = "tls"
host = "127.0.0.1"
port = ${String(port)}
server_name = "localhost"
ca_file = "~/.config/bmux/gateway.pem"
`;
}

export const STEPS: readonly Step[] = [
  {
    text: '## Install',
    typed: ['npm install -g ./bmuxd-0.1.0.tgz', 'bmuxd --version'],
    hidden: true,
  },
  {
    text: `The target is in \`bmux.toml\` already, since bmux uses it. bmuxd reads that file and needs no configuration of its own.`,
    typed: ['cat ~/.config/bmux/bmux.toml'],
  },
  {
    text: '`doctor` looks at everything that can be wrong, and tries each target. It works without a daemon.',
    typed: ['bmuxd doctor'],
    after:
      'A line with `!` is a finding, with its remedy below. Where Node is older than 22.15 and nothing was compiled, `packages` has one.',
  },
  {
    text: '## The first commands\n\nThe daemon may be started by hand; otherwise `exec`, `env` and `attach` start it.',
    typed: ['bmuxd start', 'bmuxd targets'],
  },
  {
    text: 'Any program that calls `bmux` can be run at a target:',
    typed: ['bmuxd exec prod -- bmux list-sessions'],
  },
  {
    text: `Or keep typing what you typed before. This line goes into \`~/.bashrc\` ([README](../README.md#use) has those of zsh and fish):`,
    typed: ['eval "$(bmuxd shell-init bash)"', 'bmux --target prod list-sessions'],
  },
  {
    text: 'A target that is misspelt is refused, and not taken for the local server:',
    typed: ['bmuxd exec pord -- bmux list-sessions'],
    status: 2,
  },
  {
    text: '`bmuxd attach prod work` attaches to a session as `bmux attach` does. When the connection is lost, it attaches again as soon as the target answers.\n\n## See what it does',
    typed: ['bmuxd ping -c 3 prod', 'bmuxd status'],
    after:
      'The round trip is 50 ms. A command on the warm target takes one; without bmuxd it takes several, for TCP, TLS and the Hello.',
  },
  { text: 'More of one target:', typed: ['bmuxd status prod'] },
  {
    text: 'What has happened, and the log:',
    typed: ['bmuxd events -n 3 --no-follow', 'bmuxd logs -n 3'],
  },
  {
    text: '## Keep it\n\nAs a service it starts with your login. `--dry-run` shows the unit file as well, which is left out here.',
    typed: ["bmuxd install --dry-run | grep -E '^(write|run)'"],
  },
  {
    text: '[service.md](service.md) tells of linger, upgrades and removal.\n\n## Remove it',
    typed: ['bmuxd stop', 'npm uninstall -g bmuxd'],
    hidden: true,
  },
  {
    text: 'Settings stay in `~/.config/bmuxd`, state in `~/.local/state/bmuxd`. Your `bmux.toml` is as it was.',
    typed: [],
  },
];
