#!/bin/sh
":" /* The rest of this comment is a program for the shell. Node reads what comes after it.
# `exec` ends as its command: Node finds out the environment and is gone. A command that Node had started would have lost what Node
# changes in its own process: ignored signals, the limit of open files, descriptors above 2, and bytes that are not UTF-8.
if [ "${1-}" = exec ]; then
  shift
  _bmuxd=$(exec node "$0" sh-exec "$@") || exit
  eval "$_bmuxd"
  exit
fi
exec node "$0" "$@"
*/
