#!/usr/bin/env bash
# The suites under the thread sanitizer, in build-threads.  It takes clang and its OpenMP, whose tool "archer" tells the
# sanitizer of the barriers; GNU OpenMP's look like races to it.
set -euo pipefail
cd "$(dirname "$0")/.."
apt-get install -y -qq --no-install-recommends clang-14 libomp-14-dev libclang-rt-14-dev >/dev/null
llvm=/usr/lib/llvm-14/lib
CC=clang-14 CXX=clang++-14 meson setup build-threads --buildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false \
    -Ddefault_library=shared -Dcuda=disabled -Dexamples=disabled -Dbench=false
meson compile -C build-threads
export OMP_TOOL_LIBRARIES=$llvm/libarcher.so TSAN_OPTIONS=ignore_noninstrumented_modules=1 LD_LIBRARY_PATH=$llvm
meson test -C build-threads --no-rebuild --no-suite abi --print-errorlogs
