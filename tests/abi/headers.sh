#!/bin/sh
# Compiles every public header alone, and all macros, with each of the given compilers.
#   headers.sh INCLUDE_DIR 'cc -std=c11' 'c++ -std=c++17' ...
set -eu
include=$1
shift
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
warnings="-Wall -Wextra -Wshadow -Wundef -Wpedantic -pedantic -Werror -fsyntax-only"
status=0
count=0
for compiler; do
    case $compiler in
    *c++*) language=c++ ;;
    *) language=c ;;
    esac
    for header in "$include"/poslabel.h "$include"/poslabel/*.h; do
        name=${header#"$include"/}
        # twice: the guards work, too
        printf '#include <%s>\n#include <%s>\n' "$name" "$name" >"$work/alone.c"
        # shellcheck disable=SC2086
        if ! $compiler $warnings -I "$include" -x $language "$work/alone.c"; then
            echo "$name does not compile alone with $compiler" >&2
            status=1
        fi
        count=$((count + 1))
    done
    # shellcheck disable=SC2086
    if ! $compiler $warnings -I "$include" -x $language "$here/macros.c"; then
        echo "the macros do not compile with $compiler" >&2
        status=1
    fi
done
echo "$count compilations of headers alone"
exit $status
