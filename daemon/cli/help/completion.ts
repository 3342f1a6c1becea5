// `bmuxd completion`: prints the script for a shell. The script calls the same command again, with the words that have been typed.
import { whitelisted } from '../../api/caller-env.ts';
import { isStreamList, isTargetList } from '../../api/answer-shapes.ts';
import { asciiJson } from '../../api/header.ts';
import { withoutTargetSocket } from '../../api/target-socket-env.ts';
import { withoutCredentials } from '../../base/redact.ts';
import { askControl } from '../ask-control.ts';
import type { Command, CommandContext } from '../command.ts';
import { complete, type Completion, type LiveNames } from './complete.ts';

/** ms that the daemon has for an answer: a person waits for it. */
const ANSWER_MS = 1000;

export async function completion(
  commands: readonly Command[],
  { args, argsBeforeDashes, env, cwd, out }: CommandContext,
): Promise<number> {
  const [shell = '', ...words] = args;
  if (words.length === 0 && argsBeforeDashes === 1) {
    out(SCRIPTS[shell] ?? '');
    return 0;
  }
  out(printed(await complete(words, commands, known({ env, cwd }))));
  return 0;
}

/** Lines `WORD<tab>ABOUT`. A first line that begins with a colon says what to do instead. */
function printed({ candidates, instead }: Completion): string {
  const plain = (text: string): string => text.replace(/\p{Cc}/gu, '?');
  const lines = candidates.map(([word, about]) => `${plain(word)}\t${plain(about)}\n`);
  if (instead === undefined) return lines.join('');
  return `:${instead === 'files' ? 'files' : `program ${String(instead)}`}\n${lines.join('')}`;
}

/** Asks the daemon. Without one, there is nothing to complete to. */
function known({ env, cwd }: Pick<CommandContext, 'env' | 'cwd'>): LiveNames {
  const caller = withoutTargetSocket(env);
  return {
    targets: async () => {
      const headers = { 'bmux-request': asciiJson({ cwd, env: whitelisted(caller) }) };
      const question = { method: 'GET', path: '/v1/targets', headers, timeoutMs: ANSWER_MS } as const;
      const { targets } = await askControl(caller, question, isTargetList);
      return targets.map(({ name, transport, address }) => [
        name,
        `${transport} ${withoutCredentials(address)}`.trim(),
      ]);
    },
    streams: async () => {
      const question = { method: 'GET', path: '/v1/streams', timeoutMs: ANSWER_MS } as const;
      const { streams } = await askControl(caller, question, isStreamList);
      return streams.map(({ id, target, clientName }) => [id, `${target} ${clientName}`]);
    },
  };
}

/** The scripts, by shell. `bmuxd completion SHELL -- WORD...` prints what the last word may be. */
const SCRIPTS: Readonly<Record<string, string>> = {
  // For bash 3.2 also, which macOS has.
  bash: `_bmuxd() {
  COMPREPLY=()
  # COMP_WORDS is cut at the colons of an address.
  local line rest="\${COMP_LINE:0:COMP_POINT}" word='' words=()
  local plain="\${rest//\\\\[\\"\\']/}" quote=''
  local double="\${plain//[!\\"]/}" single="\${plain//[!\\']/}"
  if [ $((\${#double} % 2)) = 1 ]; then quote='"'; elif [ $((\${#single} % 2)) = 1 ]; then quote="'"; fi
  # Without -r: a blank behind a backslash is part of a word, and so is each in an open quote.
  read -a words <<<"\${rest%"$quote"*}"
  [ -n "$quote" ] || read -a words <<<"$rest"
  case \${quote:-n}$rest in
    [!n]*) word="\${rest##*"$quote"}" words+=("$word") ;;
    *\\\\[[:space:]]) word="\${words[\${#words[@]}-1]}" ;;
    *[[:space:]]) words+=('') ;;
    *) word="\${words[\${#words[@]}-1]}" ;;
  esac
  while IFS= read -r line; do
    case $line in
      ':program '*)
        local from=1
        while [ "\${COMP_WORDS[from-1]}" != -- ]; do from=$((from + 1)); done
        if declare -F _comp_command_offset >/dev/null; then _comp_command_offset $from
        elif declare -F _command_offset >/dev/null; then _command_offset $from
        else COMPREPLY=($(compgen -c -- "$word")); fi
        return ;;
      :files)
        while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$word")
        compopt -o filenames 2>/dev/null
        return ;;
      ?*)
        line=\${line%%$'\\t'*}
        # bash puts it on the command line as it is.
        case \${quote:-n}$line in
          \\"*) line=\${line//\\\\/\\\\\\\\} line=\${line//\\"/\\\\\\"} line=\${line//\\$/\\\\\\$} line=\${line//\\\`/\\\\\\\`} ;;
          \\'*) line=\${line//\\'/\\'\\\\\\'\\'} ;;
          n*[\\ \\'\\"\\\\$\\\`\\&\\;\\|\\<\\>\\(\\)\\*\\?\\[\\#\\!\\~\\{\\}]*) printf -v line %q "$line" ;;
        esac
        COMPREPLY+=("$line") ;;
    esac
  done < <(command bmuxd completion bash -- "\${words[@]:1}" 2>/dev/null)
  # bash replaces only what follows the last colon or sign of equality.
  case $quote$COMP_WORDBREAKS$word in
    [\\'\\"]*) ;; # It replaces all that is behind the quote.
    *:*:*) local head="\${word%:*}:"; COMPREPLY=("\${COMPREPLY[@]#"$head"}") ;;
    *=*--*=*) local head="\${word%%=*}="; COMPREPLY=("\${COMPREPLY[@]#"$head"}") ;;
  esac
}
complete -F _bmuxd bmuxd
`,
  zsh: `#compdef bmuxd
_bmuxd() {
  local line
  local -a found
  for line in "\${(@f)$(command bmuxd completion zsh -- "\${(@Q)words[2,CURRENT-1]}" "\${\${(Q)words[CURRENT]}#[\\"\\']}" 2>/dev/null)}"; do
    case $line in
      ':program '*)
        local from=\${line#:program }
        shift $from words
        (( CURRENT -= from ))
        _normal
        return ;;
      :files) _files; return ;;
      *$'\\t') found+=("\${\${line%%$'\\t'*}//:/\\\\:}") ;;
      ?*) found+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}") ;;
    esac
  done
  (( $#found )) && _describe bmuxd found
}
compdef _bmuxd bmuxd
`,
  fish: `function __bmuxd_complete
  set -l words (commandline -opc) (string replace -r -- '^["\\\\\\']' '' (commandline -ct))
  set -l answer (command bmuxd completion fish -- $words[2..-1] 2>/dev/null)
  switch "$answer[1]"
    case ':program *'
      set -l from (string replace ':program ' '' -- $answer[1])
      complete -C (string join ' ' -- $words[(math $from + 1)..-1])
    case :files
      __fish_complete_path (commandline -ct)
    case '*'
      printf '%s\\n' $answer
  end
end
complete -c bmuxd -f -a '(__bmuxd_complete)'
`,
};
