#!/bin/sh
# Builds the smallest example against an installed copy, the ways a user would: pkg-config, static, CMake, C++.
#     .ci/installed.sh DESTDIR
set -eu
cd "$(dirname "$0")/.."
root=$1
pc=$(dirname "$(find "$root" -name poslabel.pc)")
lib=$(dirname "$pc")
out=$(mktemp -d)
export PKG_CONFIG_PATH="$pc" PKG_CONFIG_SYSROOT_DIR="$root" PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
export LD_LIBRARY_PATH="$lib"

# shellcheck disable=SC2046
cc -std=c11 -Wall -Wextra -Werror examples/loss.c -o "$out/shared" $(pkg-config --cflags --libs poslabel)
"$out/shared" >"$out/shared.txt"
# shellcheck disable=SC2046
cc -std=c11 examples/loss.c -o "$out/static" $(pkg-config --cflags poslabel) "$lib/libposlabel.a" \
    $(pkg-config --static --libs-only-other --libs-only-l poslabel | sed 's/-lposlabel//') -lm
LD_LIBRARY_PATH='' "$out/static" >"$out/static.txt"
cmp "$out/shared.txt" "$out/static.txt"

printf '#include <poslabel.h>\nint main() { return poslabel_version() == POSLABEL_VERSION ? 0 : 1; }\n' >"$out/version.cpp"
# shellcheck disable=SC2046
c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror "$out/version.cpp" -o "$out/cpp" $(pkg-config --cflags --libs poslabel)
"$out/cpp"

# What the README quotes is the example, and what it says that the example prints is what it prints.
python3 - "$out/shared.txt" <<'END'
import sys
readme = open("README.md").read()
assert open("examples/loss.c").read() in readme, "README.md quotes another examples/loss.c"
assert open(sys.argv[1]).read() in readme, "README.md shows another output of examples/loss.c"
END

if command -v cmake >/dev/null; then
    printf '%s\n' 'cmake_minimum_required(VERSION 3.16)' 'project(user C)' 'find_package(poslabel 0.1 REQUIRED)' \
        'add_executable(user main.c)' 'target_link_libraries(user poslabel::poslabel)' >"$out/CMakeLists.txt"
    cp examples/loss.c "$out/main.c"
    cmake -S "$out" -B "$out/cmake" -DCMAKE_PREFIX_PATH="$(dirname "$(dirname "$lib")")" >/dev/null
    cmake --build "$out/cmake" >/dev/null
    "$out/cmake/user" >"$out/cmake.txt"
    cmp "$out/shared.txt" "$out/cmake.txt"
fi
echo "installed copy: shared, static, C++$(command -v cmake >/dev/null && echo ' and CMake') work"
rm -r "$out"
