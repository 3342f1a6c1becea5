// The table of commands. Help, man page, completion, suggestions and the README are made from it; there is no other list of commands.
import { SETTINGS } from '../config/settings/table.ts';
import { JSON_OPTION, type Command, type OptionRow } from './command.ts';

/** Of commands that may start the daemon. */
const NO_START: OptionRow = {
  type: 'boolean',
  about: 'fail when no daemon runs; the default starts one (setting autostart)',
};

export const COMMANDS: readonly Command[] = [
  {
    name: 'run',
    otherNames: ['serve', 'daemon', 'server'],
    forms: [''],
    about: 'run the daemon in the foreground',
    options: {
      'log-level': {
        type: 'string',
        value: 'LEVEL',
        values: SETTINGS[0].takes.values,
        about: 'the least severe level that is logged (also BMUXD_LOG_LEVEL)',
      },
      replace: {
        type: 'boolean',
        about: 'take over from a daemon that runs, when this one is ready; live streams go on',
      },
      'log-file': {
        type: 'string',
        value: 'PATH',
        about: 'log to this file, not to stderr; from 1 MB on it is kept once as PATH.1',
      },
    },
    examples: [
      ['bmuxd run --replace', 'takes over from the daemon that runs; live streams go on'],
      ['bmuxd run --log-level debug', 'with every detail in the log'],
    ],
    load: async () => (await import('./commands/run.ts')).run,
  },
  {
    name: 'start',
    otherNames: ['up'],
    forms: [''],
    about: 'start the daemon in the background; returns when it is ready',
    options: {},
    examples: [['bmuxd start && bmuxd targets', 'target sockets are there when it returns']],
    exits: { 0: 'it runs and is ready', 1: 'it could not be started, or is degraded' },
    waits: 'the daemon to get ready',
    load: async () => (await import('./service/start.ts')).start,
  },
  {
    name: 'restart',
    forms: [''],
    about: 'start the daemon anew, as after an upgrade; live streams go on, and no request is refused',
    options: {},
    examples: [['npm install -g ./bmuxd-*.tgz && bmuxd restart', 'to use the version that is installed now']],
    exits: { 0: 'it is ready', 1: 'it could not be started, or is degraded' },
    waits: 'the new daemon to get ready',
    load: async () => (await import('./service/restart.ts')).restart,
  },
  {
    name: 'status',
    otherNames: ['top', 'show', 'info', 'state'],
    forms: ['[TARGET]'],
    about: 'show the state of the daemon, its engines and the servers that it knows, or of one target',
    options: {
      json: JSON_OPTION,
      wait: { type: 'string', value: 'SECONDS', about: 'wait until the daemon is ready, at most this long' },
      watch: {
        type: 'boolean',
        short: 'w',
        about: 'show targets and streams with their rates, every second; with --json a document each time',
      },
    },
    examples: [
      ['bmuxd status --wait 10', 'after a start, in a script'],
      ['bmuxd status prod', 'what bmuxd knows of one target'],
    ],
    exits: { 0: 'ready or starting', 1: 'degraded, or the target fails', 3: 'not running' },
    waits: 'the daemon to answer',
    load: async () => (await import('./status/status.ts')).status,
  },
  {
    name: 'env',
    otherNames: ['use', 'switch'],
    forms: ['', 'TARGET'],
    about: 'print what to set so that an unmodified bmux talks to TARGET through bmuxd',
    options: {
      shell: {
        type: 'string',
        value: 'SHELL',
        values: ['bash', 'zsh', 'fish', 'json'],
        about: 'whose syntax is printed; bash is the default',
      },
      unset: { type: 'boolean', about: 'print what undoes an earlier `bmuxd env` instead' },
      'no-start': NO_START,
    },
    // A command after `eval "$(bmuxd env TARGET)" &&` must not run with the target of before.
    failing: 'false\n',
    examples: [
      ['eval "$(bmuxd env prod)"', 'for all commands of this shell'],
      ['eval "$(bmuxd env --unset)"', 'undo that'],
    ],
    load: async () => (await import('./shell/env.ts')).env,
  },
  {
    name: 'exec',
    otherNames: ['with'],
    forms: ['TARGET -- COMMAND [ARG...]'],
    about: 'run COMMAND so that an unmodified bmux talks to TARGET through bmuxd',
    options: {
      'no-start': NO_START,
      reattach: {
        type: 'boolean',
        about: 'run it again when its connection was lost and TARGET answers again',
      },
      'if-remote': {
        type: 'boolean',
        about: 'run COMMAND as it is when bmuxd does not serve TARGET; an empty TARGET is the default one',
      },
    },
    examples: [['bmuxd exec prod -- bmux list-sessions', 'for one command']],
    exits: { 126: 'COMMAND cannot be run', 127: 'there is no COMMAND; any other status is its own' },
    load: async () => (await import('./shell/exec.ts')).exec,
  },
  {
    name: 'attach',
    otherNames: ['connect', 'ssh', 'open'],
    forms: ['[TARGET] [SESSION] [BMUX_ARG...]'],
    about: 'run `bmux attach` at TARGET, and again when its connection was lost and TARGET answers again',
    options: { 'no-start': NO_START },
    examples: [
      ['bmuxd attach prod work', 'until you detach'],
      ['bmuxd attach prod -- --help', 'arguments of `bmux attach` follow a `--`'],
    ],
    exits: { 8: 'the connection was lost, and Ctrl-C gave up; any other status is that of `bmux attach`' },
    load: async () => (await import('./attach/attach.ts')).attach,
  },
  {
    name: 'ping',
    otherNames: ['test'],
    forms: ['TARGET'],
    about: 'measure round trips to the server of a target, over its warm connection',
    options: {
      count: { type: 'string', short: 'c', value: 'COUNT', about: 'how many round trips; 4 is the default' },
      json: JSON_OPTION,
    },
    examples: [['bmuxd ping -c 1 prod', 'is it there, and how far away']],
    load: async () => (await import('./commands/ping.ts')).ping,
  },
  {
    name: 'shell-init',
    forms: ['bash|zsh|fish|sh'],
    about:
      'print what makes `bmux` go through bmuxd: a function for a shell, or with `sh` a program for PATH',
    options: {},
    examples: [['eval "$(bmuxd shell-init bash)"', 'in ~/.bashrc; `command bmux` runs the program itself']],
    load: async () => (await import('./shell-init/init.ts')).shellInit,
  },
  {
    name: 'warm',
    forms: ['TARGET'],
    about: 'open a warm connection to a target now; fails with the reason when it cannot be reached',
    options: {},
    examples: [['bmuxd warm prod', 'before the first command needs it']],
    load: async () => (await import('./commands/warm.ts')).warm,
  },
  {
    name: 'drop',
    otherNames: ['close', 'disconnect', 'forget'],
    forms: ['TARGET'],
    about: 'close the warm connections and spares of a target; live streams continue',
    options: {},
    examples: [['bmuxd drop prod', 'makes the next command connect again']],
    waits: 'the daemon to find the target',
    load: async () => (await import('./commands/warm.ts')).drop,
  },
  {
    name: 'login',
    otherNames: ['auth'],
    forms: ['TARGET'],
    about: 'log in to an SSH target in this terminal, where a passphrase, a code or a touch is asked for',
    options: {},
    examples: [['bmuxd login box', 'the connection stays with bmuxd']],
    load: async () => (await import('./commands/login.ts')).login,
  },
  {
    name: 'trust',
    forms: ['list', 'add GATEWAY', 'remove GATEWAY'],
    about:
      'list, add or remove the certificates of TLS gateways that are trusted without a certificate authority',
    options: {
      fingerprint: {
        type: 'string',
        value: 'SHA256:HEX',
        about: 'trust the gateway only if its certificate has this fingerprint (add)',
      },
      yes: { type: 'boolean', about: 'trust the certificate that is presented without a question (add)' },
      json: { ...JSON_OPTION, about: 'print the list as JSON (list)' },
    },
    examples: [
      ['bmuxd trust add gateway.example.org:7443', 'shows the certificate and asks'],
      ['bmuxd trust remove prod', 'by the name of a TLS target'],
    ],
    waits: 'the gateway to show its certificate',
    load: async () => (await import('./commands/trust.ts')).trust,
  },
  {
    name: 'targets',
    otherNames: ['ls', 'list', 'hosts'],
    forms: [''],
    about: 'list the targets that a command with this environment has',
    options: { json: JSON_OPTION },
    examples: [['bmuxd targets', 'the default target has a star']],
    waits: 'the daemon to read the config',
    load: async () => (await import('./commands/lists.ts')).targets,
  },
  {
    name: 'streams',
    otherNames: ['ps', 'clients', 'sessions'],
    forms: ['', 'end ID'],
    about: 'list the live streams, of every engine; `end ID` ends one gracefully',
    options: { json: JSON_OPTION },
    examples: [['bmuxd streams end mwsploil-9', 'ends the stream with this id']],
    waits: 'the engines to list their streams',
    load: async () => (await import('./commands/lists.ts')).streams,
  },
  {
    name: 'events',
    forms: [''],
    about: 'print events as they happen: streams, refusals with their reasons, connections, config',
    options: {
      number: {
        type: 'string',
        short: 'n',
        value: 'COUNT',
        about: 'begin with the latest COUNT events; by default with all that are kept, at most 200',
      },
      since: {
        type: 'string',
        value: 'TIME',
        about: 'begin with events since then: 90s, 10m, 2h, 1d ago, or a date',
      },
      'no-follow': { type: 'boolean', about: 'end after the past events' },
      json: { type: 'boolean', about: 'print one JSON document a line' },
    },
    examples: [
      ['bmuxd events -n 20 --no-follow', 'what has happened last'],
      ['bmuxd events --json --since 1h', 'for a script'],
    ],
    load: async () => (await import('./commands/events.ts')).events,
  },
  {
    name: 'logs',
    otherNames: ['journal'],
    forms: [''],
    about: 'show the log of the daemon, wherever it is: the journal, or a file',
    options: {
      follow: { type: 'boolean', short: 'f', about: 'also show what is logged from now on' },
      lines: { type: 'string', short: 'n', value: 'COUNT', about: 'how many lines; default 200' },
      json: {
        type: 'boolean',
        about: 'print the lines as they are; the default where the output is no terminal',
      },
    },
    examples: [['bmuxd logs -f', 'until Ctrl-C']],
    load: async () => (await import('./service/logs.ts')).logs,
  },
  {
    name: 'install',
    forms: [''],
    about: 'make bmuxd a service of this user (systemd or launchd); shows what it writes',
    options: {
      now: { type: 'boolean', about: 'also start it now; a daemon that was started by hand leaves to it' },
      socket: { type: 'boolean', about: 'the first request starts it, too (systemd)' },
      'dry-run': { type: 'boolean', about: 'only show what would be written and run' },
      'stable-node': {
        type: 'boolean',
        about: 'use links to Node and bmuxd that outlive their folders; install again to renew them',
      },
    },
    examples: [['bmuxd install --now', 'does the same again without harm']],
    load: async () => (await import('./service/install/install.ts')).install,
  },
  {
    name: 'uninstall',
    otherNames: ['remove'],
    forms: [''],
    about: 'stop and remove the service of this user; live streams continue',
    options: { 'dry-run': { type: 'boolean', about: 'only show what would be run and removed' } },
    examples: [['bmuxd uninstall', 'before bmuxd itself is removed']],
    waits: 'the service manager',
    load: async () => (await import('./service/install/install.ts')).uninstall,
  },
  {
    name: 'service',
    forms: ['status'],
    about: 'show the service of this user: its manager, state, file and paths',
    options: { json: JSON_OPTION },
    examples: [['bmuxd service status', 'says when the path of Node is gone']],
    exits: { 0: 'it runs', 1: 'it does not run, or its paths are gone', 3: 'none is installed' },
    waits: 'the service manager',
    load: async () => (await import('./service/install/service-status.ts')).service,
  },
  {
    name: 'doctor',
    otherNames: ['check', 'config', 'diagnose', 'debug'],
    forms: ['[TARGET]'],
    about: 'find out what is wrong: installation, configuration, daemon, and each target step by step',
    options: {
      json: JSON_OPTION,
      bundle: {
        type: 'string',
        value: 'FILE',
        about: 'also write a file for a report of a bug: the findings and the log, without secrets',
      },
    },
    examples: [
      ['bmuxd doctor', 'of all targets; works without a daemon, too'],
      ['bmuxd doctor prod --bundle report.json', 'of one target, for a report'],
    ],
    exits: { 0: 'nothing is wrong', 1: 'there are findings' },
    waits: 'the examination to end',
    load: async () => (await import('./doctor/doctor.ts')).doctor,
  },
  {
    name: 'reload',
    forms: [''],
    about: 'read settings and config again; live streams continue',
    options: {},
    examples: [['bmuxd reload', 'shows what is wrong in the files']],
    waits: 'the daemon to read its files again',
    load: async () => (await import('./commands/stop.ts')).reload,
  },
  {
    name: 'stop',
    otherNames: ['kill', 'quit', 'shutdown', 'down', 'exit'],
    forms: [''],
    about: 'end every stream gracefully and stop the daemon',
    options: {
      now: { type: 'boolean', about: 'at once, as without an option; also while it drains' },
      drain: {
        type: 'string',
        value: 'TIME',
        about: 'take no more streams, and let the live ones go on for at most TIME first',
      },
    },
    examples: [
      ['bmuxd stop', 'returns when the daemon has exited'],
      ['bmuxd stop --drain 30s', 'gives the live streams 30 s'],
    ],
    waits: 'all streams to end',
    load: async () => (await import('./commands/stop.ts')).stop,
  },
  {
    name: 'meta',
    forms: ['write', 'remove'],
    about: "write or remove server-meta.json in bmux's runtime dir, for a server launcher",
    options: {
      pid: { type: 'string', value: 'PID', about: 'process id of the server (write)' },
      version: { type: 'string', value: 'VERSION', about: 'version of the server (write)' },
      executable: {
        type: 'string',
        value: 'PATH',
        about: 'executable of the server; its build id is recorded (write)',
      },
    },
    examples: [['bmuxd meta remove', 'after the server has ended']],
    load: async () => (await import('./commands/meta.ts')).meta,
  },
  {
    name: 'completion',
    forms: ['bash|zsh|fish [WORD...]'],
    about: 'print what makes a shell complete commands, targets and options',
    options: {},
    examples: [
      ['eval "$(bmuxd completion bash)"', 'in ~/.bashrc; with zsh in ~/.zshrc, after compinit'],
      ['bmuxd completion fish > ~/.config/fish/completions/bmuxd.fish', 'for fish'],
    ],
    load: async () => {
      const { completion } = await import('./help/completion.ts');
      return (context) => completion(COMMANDS, context);
    },
  },
  {
    name: 'help',
    forms: ['[NAME [WORD]]'],
    about: 'show all commands, or what one command does with its options and examples',
    options: {},
    examples: [['bmuxd help exec', 'the same as `bmuxd exec --help`']],
    load: async () => {
      const { showHelp } = await import('./help/help.ts');
      return (context) => showHelp(COMMANDS, context);
    },
  },
];
