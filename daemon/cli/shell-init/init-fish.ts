// The `bmux` of fish that `bmuxd shell-init` prints. It decides as that of the other shells (init-posix.ts).
import { KEY_NAMES, SHELL_FILE } from '../../request/shell-file.ts';
import { LEAVES, SCHEMES, THROUGH, THROUGH_WITH, VALUED } from '../shell/bmux-commands.ts';
import type { Sockets } from './init-posix.ts';
import { quotedFish } from '../shell/quoted.ts';

const words = (list: readonly string[]): string => list.map((word) => `'${word}'`).join(' ');

export function functionForFish({ dir, controlSocket }: Sockets): string {
  const some = Object.entries(THROUGH_WITH).flatMap(([name, subs]) => subs.map((sub) => `${name} ${sub}`));
  return `functions -e bmux
function bmux --wraps bmux
  set -l t; set -l has; set -l cmd; set -l sub; set -l next; set -l leave; set -l rest; set -l over
  for a in $argv
    if test -n "$over"
      set -a rest $a
      continue
    end
    switch "$next"
      case target
        set t $a; set next
        continue
      case value
        set next; set -a rest $a
        continue
    end
    switch $a
      case --
        set over 1
      case --target
        set leave "$leave$has"; set has 1; set next target
        continue
      case '--target=*'
        set leave "$leave$has"; set has 1; set t (string replace -- --target= '' $a)
        continue
      case ${words(LEAVES)} ${words(LEAVES.map((name) => `${name}=*`))}
        set leave 1
      case ${words(VALUED)}
        set next value
      case '-*'
      case '*'
        if test -z "$cmd"
          set cmd $a
        else if test -z "$sub"
          set sub $a
        end
    end
    set -a rest $a
  end
  switch "$cmd"
    case ${words(THROUGH)}
    case '*'
      contains -- "$cmd $sub" ${words(some)}; or set leave 1
  end
  if test -z "$has"; and set -q BMUX_TARGET
    set t "$BMUX_TARGET"
    test -n "$t"; or set leave 1
  else if test -n "$has$next"
    test -n "$t"; or set leave 1
  end
  if test -n "$leave"; or test "$t" = local
    command bmux $argv
    return
  end
  set -l key
  for name in ${KEY_NAMES.join(' ')}
    set -q $name; and set key "$key$name=$$name|"
  end
  set -l d ${quotedFish(dir)}
  test -n "$BMUXD_RUNTIME_DIR"; and set d $BMUXD_RUNTIME_DIR
  set -l control ${quotedFish(controlSocket)}
  test -n "$BMUXD_SOCKET"; and set control $BMUXD_SOCKET
  set -l known; set -l folder; set -l any; set -l way exec
  for f in $d/targets*/${SHELL_FILE}
    set known; set folder
    while read -l line
      set -l word (string sub -s 2 -- $line)
      switch (string sub -l 1 -- $line)
        case K
          test "$word" = "$key"; and set known 1
        case D
          if test -z "$known"
            set any "$any$word"
            break
          end
          test -n "$t"; or set t $word
          test -n "$t"; or break
        case L
          test "$word" = "$t"; and break
        case R
          set -l pair (string split -m 1 ' ' -- $word)
          if test "$pair[2]" = "$t"
            set folder (string replace -r '/[^/]*$' '' -- $f)/$pair[1]
            break
          end
      end
    end < $f
    test -n "$known"; and break
  end
  if test -n "$folder"
    test -S $folder/server.sock; and set way socket
  else if test -n "$known"
    string match -qr '^(${SCHEMES.join('|')})' -- "$t"; or set way real
  else if test -z "$t$any"
    set way real
  end
  test $way = exec; and not command -q bmuxd; and set way real
  if test $way = real
    command bmux $argv
    return
  end
  set -l before
  for name in BMUX_RUNTIME_DIR BMUX_TARGET BMUX_RUNTIME_NAME
    set -q $name; or continue
    string match -qr '["\\\\\\\\[:cntrl:]]' -- $$name; and set way exec
    set -a before "\\"$name\\":\\"$$name\\""
  end
  if test $way = exec
    command bmuxd exec --if-remote -- "$t" -- bmux $rest
    return
  end
  test -n "$before"; and set before "{"(string join , $before)"}"
  BMUX_RUNTIME_DIR=$folder BMUX_TARGET=local BMUX_RUNTIME_NAME= BMUXD_SOCKET=$control BMUXD_ENV_BEFORE="$before" command bmux $rest
end
`;
}
