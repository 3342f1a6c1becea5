#!/bin/sh
":" /* The rest of this comment is a program for the shell. Node reads what comes after it.
# `exec` ends as its command: Node finds out the environment and is gone. A command that Node had started would have lost what Node
# changes in its own process: ignored signals, the limit of open files, descriptors above 2, and bytes that are not UTF-8.

# The shell runs before it has read the functions below.
case ${1-} in exec | env | --version | -V) ;; *) exec node "$0" "$@" ;; esac

# Sets _bmuxd_t to the folder of the target socket of $1, _bmuxd_s to the control socket, and _bmuxd_b to the values that the variables of
# the target socket replace. Fails when Node has to find them out: the file of the shell names what is known (daemon/request/shell-file.ts).
_bmuxd_known() {
  case $1 in '' | -* | *[!A-Za-z0-9._-]*) return 1 ;; esac
  _bmuxd_d=${BMUXD_RUNTIME_DIR:-}
  if [ -z "$_bmuxd_d" ]; then
    case ${XDG_RUNTIME_DIR-} in '/'*) _bmuxd_d=$XDG_RUNTIME_DIR/bmuxd ;; *) return 1 ;; esac
  fi
  case $_bmuxd_d/ in *"'"* | *[/]/* | *[/]./* | *[/]../*) return 1 ;; '/'*) ;; *) return 1 ;; esac
  _bmuxd_s=$_bmuxd_d/control.sock
  [ "${BMUXD_SOCKET:-$_bmuxd_s}" = "$_bmuxd_s" ] && [ -O "$_bmuxd_d" ] && [ ! -L "$_bmuxd_d" ] || return 1
  _bmuxd_k="@KEY@" _bmuxd_t=
  for _bmuxd_f in "$_bmuxd_d"/targets*"/.shell"; do
    [ -r "$_bmuxd_f" ] && [ -O "$_bmuxd_f" ] || continue
    _bmuxd_p= _bmuxd_v= _bmuxd_c=
    while IFS= read -r _bmuxd_l; do
      case $_bmuxd_l in
        'V@VERSION@') _bmuxd_v=1 ;;
        P*) _bmuxd_p=${_bmuxd_l#P} ;;
        "K$_bmuxd_k") _bmuxd_c=1 ;;
        D*) [ -n "$_bmuxd_v" ] && [ -n "$_bmuxd_p" ] && [ -n "$_bmuxd_c" ] || break ;;
        "W"*" "*" $1") ;;
        "W"*" $1") _bmuxd_t=${_bmuxd_f%"/.shell"}/${_bmuxd_l#W} _bmuxd_t=${_bmuxd_t%" $1"}; break ;;
      esac
    done < "$_bmuxd_f"
    [ -z "$_bmuxd_t" ] || break
  done
  [ -S "$_bmuxd_t/server.sock" ] && [ -O "$_bmuxd_t/server.sock" ] && _bmuxd_runs $_bmuxd_p || return 1
  _bmuxd_b="${BMUX_RUNTIME_DIR-}${BMUX_TARGET-}${BMUX_RUNTIME_NAME-}"
  case $_bmuxd_b in *[\'\"\\[:cntrl:]]*) return 1 ;; esac
  _bmuxd_b="${BMUX_RUNTIME_DIR+,\"BMUX_RUNTIME_DIR\":\"$BMUX_RUNTIME_DIR\"}${BMUX_TARGET+,\"BMUX_TARGET\":\"$BMUX_TARGET\"}${BMUX_RUNTIME_NAME+,\"BMUX_RUNTIME_NAME\":\"$BMUX_RUNTIME_NAME\"}"
  [ -z "$_bmuxd_b" ] || _bmuxd_b="{${_bmuxd_b#,}}"
}

# Whether the process with the id $1 runs and is the one that started at $2.
_bmuxd_runs() {
  _bmuxd_at=$2
  { IFS= read -r _bmuxd_l < "/proc/$1/stat"; } 2> /dev/null || return 1
  set -f
  set -- ${_bmuxd_l##*") "}
  set +f
  [ "$1" != Z ] && [ "${20-}" = "$_bmuxd_at" ]
}

# Whether the shell finds the command $1 and passes each variable on: it has none with a name that is no word.
_bmuxd_runnable() {
  case $1 in '' | -*) return 1 ;; *[/]*) [ -f "$1" ] && [ -x "$1" ] || return 1 ;; esac
  _bmuxd_r=${PATH-}:
  case $1 in *[/]*) _bmuxd_r= ;; esac
  while [ -n "$_bmuxd_r" ]; do
    _bmuxd_f=${_bmuxd_r%%:*} _bmuxd_r=${_bmuxd_r#*:}
    if [ -f "${_bmuxd_f:-.}/$1" ] && [ -x "${_bmuxd_f:-.}/$1" ]; then break; fi
    [ -n "$_bmuxd_r" ] || return 1
  done
  LC_ALL=C grep -qzv '^[A-Za-z_][A-Za-z0-9_]*=' "/proc/$$/environ" 2> /dev/null
  [ $? = 1 ]
}

case $#${1-} in
  1--version | 1-V) echo 'bmuxd @VERSION@'; exit ;;
  2env)
    if _bmuxd_known "$2"; then
      printf "export %s='%s'\n" BMUX_RUNTIME_DIR "$_bmuxd_t" BMUX_TARGET local BMUX_RUNTIME_NAME '' BMUXD_SOCKET "$_bmuxd_s"
      [ -z "$_bmuxd_b${BMUXD_ENV_BEFORE+x}" ] || printf "export BMUXD_ENV_BEFORE='%s'\n" "$_bmuxd_b"
      exit
    fi ;;
esac
if [ "${1-}" = exec ]; then
  shift
  if [ "${2-}" = -- ] && [ $# -gt 2 ] && _bmuxd_known "$1" && _bmuxd_runnable "$3"; then
    shift 2
    export BMUX_RUNTIME_DIR="$_bmuxd_t" BMUX_TARGET=local BMUX_RUNTIME_NAME= BMUXD_SOCKET="$_bmuxd_s"
    [ -z "$_bmuxd_b${BMUXD_ENV_BEFORE+x}" ] || export BMUXD_ENV_BEFORE="$_bmuxd_b"
    exec "$@"
  fi
  _bmuxd=$(exec node "$0" sh-exec "$@") || exit
  eval "$_bmuxd"
  exit
fi
if [ "${1-}" = env ]; then
  # A Node that is too old or missing prints nothing, and `eval` of nothing succeeds: a command behind it would have the target of before.
  _bmuxd=$(exec node "$0" "$@")
  _bmuxd_e=$?
  [ $_bmuxd_e = 0 ] || _bmuxd=${_bmuxd:-false}
  [ -z "$_bmuxd" ] || printf '%s\n' "$_bmuxd"
  exit $_bmuxd_e
fi
exec node "$0" "$@"
*/
