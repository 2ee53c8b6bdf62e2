#!/bin/sh
# Runs nvcc and keeps what its assembler says of registers and spills in a log, out of sight of a build that goes well.
#
#     compile.sh LOG NVCC ARGUMENTS...
log=$1
shift
"$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
