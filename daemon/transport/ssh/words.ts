// What an ssh process says on stderr: the steps that `-v` tells, and its own words, which a user reads.

/** Lines that are kept of what ssh and the other end say, the last ones. */
const MAX_LINES = 24;
/** Longest line that is kept, characters. */
const MAX_LINE = 300;

/** Lines of `-v` and of bmux's log, which are no messages for a user. */
const STEPS =
  /^(?:debug\d: |OpenSSH_\d|Authenticated (?:to|using|with) |Transferred: sent|Bytes per second:)/;
const LOG = /^\S*\d{4}-\d\d-\d\dT\S+ +(?:INFO|DEBUG|TRACE|WARN)\b/;
/** Colours and the like (ECMA-48 control sequences). */
// oxlint-disable-next-line no-control-regex
const CONTROLS = /\u001b\[[0-9;]*[A-Za-z]/g;

/** Where a key is that ssh does not sign with by itself. */
const CONFIRMED = / (?:agent|authenticator|token)$/;
/** Steps that follow a signature. */
const SIGNED =
  /^(?:Authenticated |debug1: (?:Authentications that can continue|Offering |Next auth|No more auth))/;

/** What is waited for at the start of an ssh. */
export const CONFIG_READ = 'ssh to read its configuration';
const FIRST_LINE = 'the first line of an SSH server';

/** What ssh waits for after it has told a step. */
const WAITS_FOR: readonly (readonly [RegExp, string])[] = [
  [/^OpenSSH_/, CONFIG_READ],
  [/^debug1: Executing proxy command/, 'the jump host or proxy to connect'],
  [/^debug1: Connecting to (.+?)\.?$/, '$1 to take the connection'],
  [/^debug1: (?:Connection established|Local version string)/, FIRST_LINE],
  [/^debug1: Remote protocol version/, 'the host to exchange keys'],
  [/^debug1: SSH2_MSG_(?:NEWKEYS received|SERVICE_ACCEPT received)/, 'the host to answer a login'],
  [/^debug1: (?:Offering|Authentications that can continue|Next auth)/, 'the host to answer a login'],
  [/^debug1: Server accepts key/, 'the signature of a key, or the host to accept it'],
  [/^Authenticated to /, 'the host to open a session'],
];

/** What an ssh says only because the way to its host has ended, and the frame of its warnings. */
const WAY_GONE =
  /^(?:@+$|kex_exchange_identification: (?:Connection closed|read: Connection reset) by |(?:banner exchange: )?Connection .*\bUNKNOWN port \d+)/;

/** A jump host, as ssh starts the ssh to it. */
export interface Hop {
  /** `[user@]host[:port]` */
  readonly name: string;
  /** The command line that leads to it alone. */
  readonly command: string;
}

/** A way that leads through its own host. */
interface Loop {
  readonly told: string;
  readonly remedy: string;
}

function loopVia(jump: string): Loop {
  const remedy = `Set \`ProxyJump none\` for the host ${jump} in ssh_config.`;
  return { told: `jumphost loop via ${jump}`, remedy };
}

function hopOf(proxyCommand: string): Hop {
  const words = proxyCommand.split(' ');
  const after = (option: string): string | undefined => words[words.indexOf(option) + 1 || words.length];
  const [host = '', user, port] = [words.at(-1), after('-l'), after('-p')];
  const name = `${user === undefined ? '' : `${user}@`}${host}${port === undefined ? '' : `:${port}`}`;
  const options = [...(user === undefined ? [] : ['-l', user]), ...(port === undefined ? [] : ['-p', port])];
  return { name, command: ['ssh', ...options, host, 'true'].join(' ') };
}

export class Words {
  /** The last own words, a line each. */
  readonly lines: string[] = [];
  /** The key that the host would take, while ssh is not logged in with it. */
  acceptedKey: string | undefined;
  /** True when one of several methods has succeeded, and the host wants another one. */
  isPartial = false;
  /** Of this ssh, as it has told it. */
  version: number | undefined;
  /** What ssh waits for, as far as its steps tell. */
  waitsFor: string | undefined;
  /** The key whose use a person may have to confirm, while ssh waits for its signature: one of an agent, or of a hardware key. */
  unconfirmedKey: string | undefined;
  /** A certificate that was offered to the host, by its file or its place in an agent. */
  certificate: string | undefined;
  /** Set when the way leads through its own host: ssh starts one ssh after the other, without an end. */
  loop: Loop | undefined;
  /** True when the host is reached through a proxy command, as that to a jump host. */
  hasProxy = false;
  /** The jump hosts, the last one of the way first. */
  readonly #hops: Hop[] = [];
  readonly #jumps = new Set<string>();
  #passed = 0;
  /** Called for each line of `-v`. */
  onStep: (line: string) => void = () => undefined;
  #rest = '';

  /** Takes a piece of stderr. */
  push(text: string): void {
    const lines = (this.#rest + text).split(/\r?\n/);
    this.#rest = (lines.pop() ?? '').slice(0, MAX_LINE);
    for (const line of lines) this.#line(line.replace(CONTROLS, '').slice(0, MAX_LINE));
  }

  #line(line: string): void {
    // What a host says in place of its name is why it takes no login.
    const instead = /^debug1: kex_exchange_identification: banner line \d+: (.+)/.exec(line)?.[1];
    if (instead === undefined && STEPS.test(line)) {
      const [, key, how = ''] =
        /^debug1: Server accepts key: (.*?) (?:[A-Z0-9-]+ )?SHA256:\S+(.*)$/.exec(line) ?? [];
      if (key !== undefined) {
        this.acceptedKey = key;
        this.unconfirmedKey = CONFIRMED.test(how) ? key : undefined;
      } else if (SIGNED.test(line)) this.unconfirmedKey = undefined;
      if (line.includes(' with partial success')) this.isPartial = true;
      const version = /^OpenSSH_(?:\D+_)?(\d+\.\d+)/.exec(line)?.[1];
      if (version !== undefined) this.version = Number(version);
      this.#step(line);
      this.onStep(line);
      return;
    }
    const said = instead ?? line;
    if (line.trim() === '' || LOG.test(line) || said === this.lines.at(-1)) return;
    this.lines.push(said);
    if (this.lines.length > MAX_LINES) this.lines.shift();
  }

  /** The jump host at which the way ends so far. Undefined when all have let ssh in, and where there is none. */
  get hop(): Hop | undefined {
    return this.#hops[this.#hops.length - 1 - this.#passed];
  }

  /** The last jump host of the way. */
  get lastHop(): Hop | undefined {
    return this.#hops[0];
  }

  #step(line: string): void {
    if (line.startsWith('debug1: Executing proxy command')) this.hasProxy = true;
    const jump = /^debug1: Setting implicit ProxyCommand from ProxyJump: (.*)/.exec(line)?.[1];
    if (jump !== undefined) {
      this.#hops.push(hopOf(jump));
      // The same command finds the same ssh_config, and starts what it was started by.
      if (this.#jumps.has(jump)) this.loop ??= loopVia(hopOf(jump).name);
      this.#jumps.add(jump);
    }
    this.certificate =
      /^debug1: Offering public key: (.*) [A-Z0-9-]+-CERT SHA256:/.exec(line)?.[1] ?? this.certificate;
    // The ssh to a jump host tells its steps here, too. What it has shown there says nothing of the next host.
    if (line.startsWith('Authenticated to ')) {
      this.#passed += 1;
      this.acceptedKey = undefined;
      this.certificate = undefined;
      this.isPartial = false;
    }
    const isJump = this.hasProxy && line.startsWith('Authenticated to ') && !line.includes('(via proxy)');
    const [step, what = ''] = WAITS_FOR.find(([step]) => step.test(line)) ?? [];
    if (step === undefined) return;
    const isProxys = this.hasProxy && this.#hops.length === 0;
    if (isJump) this.waitsFor = `${FIRST_LINE} behind the jump host`;
    else if (isProxys && what === FIRST_LINE) this.waitsFor = `${FIRST_LINE} behind the ProxyCommand`;
    else this.waitsFor = what.replace('$1', step.exec(line)?.[1] ?? '');
  }

  /** The whole text of the own words. */
  get text(): string {
    return this.lines.join('\n');
  }

  /** The own words as an error with causes, the last ones; undefined when there are none. `code`: the system error that they tell. */
  asCause(code?: string): Error | undefined {
    let cause: Error | undefined;
    const told = this.lines.filter((line) => !WAY_GONE.test(line));
    for (const line of (told.length === 0 ? this.lines : told).slice(-6).reverse()) {
      const error = new Error(line.trim(), cause === undefined ? {} : { cause });
      cause = error;
    }
    return cause === undefined || code === undefined ? cause : Object.assign(cause, { code });
  }
}
