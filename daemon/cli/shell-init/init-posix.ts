// The `bmux` of bash, zsh and POSIX shells that `bmuxd shell-init` prints. It starts no process but bmux.
import { KEY_IN_SHELL, SHELL_FILE } from '../../request/shell-file.ts';
import { LEAVES, SCHEMES, THROUGH, THROUGH_WITH, VALUED } from '../shell/bmux-commands.ts';
import { quotedSh } from '../shell/quoted.ts';

export interface Sockets {
  /** bmuxd's runtime dir. */
  readonly dir: string;
  readonly controlSocket: string;
}

/** Words as a pattern of `case`. */
const pattern = (words: readonly string[]): string => words.map((word) => `'${word}'`).join(' | ');

const through = [
  THROUGH.map((name) => `'${name} '*`).join(' | '),
  ...Object.entries(THROUGH_WITH).map(([name, subs]) => pattern(subs.map((sub) => `${name} ${sub}`))),
];

/**
 * The body of the function. `_bmux_real` runs bmux as it is. Variables have a prefix: a POSIX shell has none that are local.
 */
const body = ({ dir, controlSocket }: Sockets): string => `
  _bmux_t= _bmux_has= _bmux_cmd= _bmux_sub= _bmux_next= _bmux_leave=
  for _bmux_a do
    case $_bmux_next in
      target) _bmux_t=$_bmux_a _bmux_next=; continue ;;
      value) _bmux_next=; continue ;;
    esac
    case $_bmux_a in
      --) break ;;
      --target) _bmux_leave=$_bmux_leave$_bmux_has _bmux_has=1 _bmux_next=target ;;
      --target=*) _bmux_leave=$_bmux_leave$_bmux_has _bmux_has=1 _bmux_t=\${_bmux_a#--target=} ;;
      ${pattern(LEAVES)} | ${LEAVES.map((name) => `'${name}='*`).join(' | ')}) _bmux_leave=1 ;;
      ${pattern(VALUED)}) _bmux_next=value ;;
      -*) ;;
      *) if [ -z "$_bmux_cmd" ]; then _bmux_cmd=$_bmux_a; elif [ -z "$_bmux_sub" ]; then _bmux_sub=$_bmux_a; fi ;;
    esac
  done
  case "$_bmux_cmd $_bmux_sub" in
${through.map((names) => `    ${names}) ;;`).join('\n')}
    *) _bmux_leave=1 ;;
  esac
  if [ -z "$_bmux_has" ] && [ -n "\${BMUX_TARGET+x}" ]; then
    _bmux_t=$BMUX_TARGET
    [ -n "$_bmux_t" ] || _bmux_leave=1
  elif [ -n "$_bmux_has$_bmux_next" ]; then
    [ -n "$_bmux_t" ] || _bmux_leave=1
  fi
  if [ -n "$_bmux_leave" ] || [ "$_bmux_t" = local ]; then _bmux_real "$@"; return; fi
  _bmux_key="${KEY_IN_SHELL}"
  _bmux_d=\${BMUXD_RUNTIME_DIR:-${quotedSh(dir)}}
  _bmux_s=\${BMUXD_SOCKET:-${quotedSh(controlSocket)}}
  _bmux_known= _bmux_dir= _bmux_any= _bmux_way=exec
  for _bmux_f in "$_bmux_d"/targets*/${SHELL_FILE}; do
    [ -r "$_bmux_f" ] || continue
    _bmux_known= _bmux_dir=
    while IFS= read -r _bmux_l; do
      case $_bmux_l in
        "K$_bmux_key") _bmux_known=1 ;;
        K*) ;;
        D*)
          if [ -z "$_bmux_known" ]; then _bmux_any=$_bmux_any\${_bmux_l#D}; break; fi
          [ -n "$_bmux_t" ] || _bmux_t=\${_bmux_l#D}
          [ -n "$_bmux_t" ] || break ;;
        "L$_bmux_t") break ;;
        R*" $_bmux_t")
          _bmux_l=\${_bmux_l#R}
          if [ "\${_bmux_l#* }" = "$_bmux_t" ]; then _bmux_dir=\${_bmux_f%/*}/\${_bmux_l%% *}; break; fi ;;
      esac
    done < "$_bmux_f"
    if [ -n "$_bmux_known" ]; then break; fi
  done
  if [ -n "$_bmux_dir" ]; then
    [ ! -S "$_bmux_dir/server.sock" ] || _bmux_way=socket
  elif [ -n "$_bmux_known" ]; then
    # A target that the config does not name may be an SSH host: bmux knows those.
    case $_bmux_t in
      ${SCHEMES.map((scheme) => `${scheme}*`).join(' | ')}) ;;
      *) _bmux_way=real ;;
    esac
  elif [ -z "$_bmux_t$_bmux_any" ]; then
    _bmux_way=real
  fi
  if [ "$_bmux_way" = exec ] && ! command -v bmuxd > /dev/null; then _bmux_way=real; fi
  if [ "$_bmux_way" = real ]; then _bmux_real "$@"; return; fi
  if [ -n "$_bmux_has" ]; then
    _bmux_n=$# _bmux_next=
    while [ "$_bmux_n" -gt 0 ]; do
      _bmux_a=$1 _bmux_n=$((_bmux_n - 1))
      shift
      if [ "$_bmux_next" = target ]; then _bmux_next=; continue; fi
      case $_bmux_next$_bmux_a in
        --) _bmux_next=end ;;
        --target) _bmux_next=target; continue ;;
        --target=*) continue ;;
      esac
      set -- "$@" "$_bmux_a"
    done
  fi
  _bmux_b="\${BMUX_RUNTIME_DIR+,\\"BMUX_RUNTIME_DIR\\":\\"$BMUX_RUNTIME_DIR\\"}\${BMUX_TARGET+,\\"BMUX_TARGET\\":\\"$BMUX_TARGET\\"}\${BMUX_RUNTIME_NAME+,\\"BMUX_RUNTIME_NAME\\":\\"$BMUX_RUNTIME_NAME\\"}"
  [ -z "$_bmux_b" ] || _bmux_b="{\${_bmux_b#,}}"
  case "\${BMUX_RUNTIME_DIR-}\${BMUX_TARGET-}\${BMUX_RUNTIME_NAME-}" in *[\\"\\\\[:cntrl:]]*) _bmux_way=exec ;; esac
  if [ "$_bmux_way" = exec ]; then _bmux_exec "$_bmux_t" "$@"; return; fi
  BMUX_RUNTIME_DIR=$_bmux_dir BMUX_TARGET=local BMUX_RUNTIME_NAME= \\
    BMUXD_SOCKET=$_bmux_s BMUXD_ENV_BEFORE=$_bmux_b _bmux_real "$@"
`;

/** Variables of the body, which are local where a shell can do that. */
const LOCALS =
  '_bmux_t _bmux_has _bmux_cmd _bmux_sub _bmux_next _bmux_leave _bmux_a _bmux_key _bmux_d _bmux_s _bmux_known _bmux_dir _bmux_any _bmux_way _bmux_f _bmux_l _bmux_n _bmux_b';

/**
 * Functions for bash and zsh. `command bmux` runs the program itself. So does `\\bmux` where a person types: it is the function that an
 * alias hides.
 */
export function functionFor(shell: 'bash' | 'zsh', sockets: Sockets): string {
  const text = body(sockets)
    .replaceAll('_bmux_real "$@"', 'command bmux "$@"')
    .replaceAll('_bmux_exec "$_bmux_t"', 'command bmuxd exec --if-remote -- "$_bmux_t" -- bmux');
  // An option that makes a pattern without a file an error, which would end the function where no daemon has run.
  const begin =
    shell === 'zsh'
      ? '\n  emulate -L sh'
      : '\n  if shopt -q failglob; then shopt -u failglob; _bmux_through "$@"; set -- "$?"; shopt -s failglob; return "$1"; fi';
  return `unalias bmux 2> /dev/null || :
function _bmux_through {${begin}
  local ${LOCALS}${text}}
function bmux {
  case $- in
    *i*) command bmux "$@" ;;
    *) _bmux_through "$@" ;;
  esac
}
case $- in *i*) alias bmux=_bmux_through ;; esac
`;
}

/** The second line of the program, by which a copy of it knows the others. */
const MADE = '# Made by `bmuxd shell-init sh`.';

/** A program to put before bmux in PATH. It finds the next bmux there that is no such program: two copies would run each other without end. */
export function scriptFor(sockets: Sockets): string {
  return `#!/bin/sh
${MADE}
_bmux_found=
_bmux_real() { exec "$_bmux_found" "$@"; }
_bmux_exec() {
  _bmux_t=$1
  shift
  # cron and sudo keep no XDG_RUNTIME_DIR: without it the daemon of this user would not be found, and another one started.
  if [ -z "\${BMUXD_RUNTIME_DIR-}\${XDG_RUNTIME_DIR-}" ] && [ -O "$_bmux_d" ]; then export BMUXD_RUNTIME_DIR="$_bmux_d"; fi
  exec bmuxd exec --if-remote -- "$_bmux_t" -- "$_bmux_found" "$@"
}
_bmux_main() {${body(sockets)}}
_bmux_made() {
  [ "$1" -ef "$0" ] && return
  { IFS= read -r _bmux_l && [ "$_bmux_l" = '#!/bin/sh' ] && IFS= read -r _bmux_l && [ "$_bmux_l" = ${quotedSh(MADE)} ]; } 2> /dev/null < "$1"
}
_bmux_rest=$PATH:
while [ -n "$_bmux_rest" ]; do
  _bmux_p=\${_bmux_rest%%:*}/bmux _bmux_rest=\${_bmux_rest#*:}
  if [ -x "$_bmux_p" ] && [ ! -d "$_bmux_p" ] && ! _bmux_made "$_bmux_p"; then _bmux_found=$_bmux_p; break; fi
done
if [ -z "$_bmux_found" ]; then echo 'bmux: there is no other bmux in PATH' >&2; exit 127; fi
_bmux_main "$@"
`;
}
