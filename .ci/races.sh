#!/usr/bin/env bash
# Races between the threads of kernels: see tests/emulation.  gcc's thread sanitizer has a clock for each thread, where
# clang's shares 255 among all; it does not know OpenMP, and the kernels have none (but OpenBLAS does).
#
#     .ci/races.sh          # compiles in build-races, and runs the suites
#     .ci/races.sh BUILD    # compiles there
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build-races}
meson setup "$build" --buildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false -Ddefault_library=shared \
    -Dcuda=disabled -Demulation=enabled -Dopenmp=disabled -Dcblas=enabled -Dexamples=disabled -Dbench=false
meson compile -C "$build"
[ $# -eq 0 ] || exit 0
# The longest suite takes some ten minutes on two cores.
OMP_NUM_THREADS=1 TSAN_OPTIONS=atexit_sleep_ms=0 meson test -C "$build" --no-rebuild --suite races --print-errorlogs \
    --timeout-multiplier 4
