#!/bin/sh
# Compiles each header of the kernels alone, so that a kernel can include the one that it needs and nothing else.
#
#     headers.sh KERNELS COMPILER ARGUMENTS...
kernels=$1
shift
failed=0
for header in "$kernels"/*/*.cuh; do
    "$@" -std=c++17 -fsyntax-only -x c++ "$header" || failed=1
done
exit $failed
