#!/usr/bin/env bash
# Compares the library's declarations of cuBLAS with cuBLAS's own header, from its Python package, where the CUDA toolkit has
# none.  Where it has one, the emulation's build compares.
set -euo pipefail
cd "$(dirname "$0")/.."
nvcc=$(command -v nvcc || true)
[ -n "$nvcc" ] || [ -x /usr/local/cuda/bin/nvcc ] || exit 0
for home in "${CUDA_HOME:-}" "${CUDA_PATH:-}" "$(dirname "${nvcc:-/}")/.." /usr/local/cuda; do
    if compgen -G "$home/include/cublas_v2.h" >/dev/null || compgen -G "$home/targets/*/include/cublas_v2.h" >/dev/null; then
        exit 0
    fi
done
release=$("${nvcc:-/usr/local/cuda/bin/nvcc}" --version | sed -n 's/.*release \([0-9]*\.[0-9]*\),.*/\1/p')
python3 -m pip --version >/dev/null 2>&1 || apt-get install -y -qq --no-install-recommends python3-pip >/dev/null
case $release in
12.*) package="nvidia-cublas-cu12==$release.*" ;;
*) package="nvidia-cublas==$release.*" ;;
esac
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo "fetching $package"
python3 -m pip install --quiet --no-deps --target "$folder" "$package"
cuda=$("${nvcc:-/usr/local/cuda/bin/nvcc}" --dryrun -x cu -c /dev/null -o /dev/null 2>&1 | sed -n 's/^#$ TOP=//p')
g++ -std=c++17 -fsyntax-only -Ikernels -I"$cuda/include" -I"$(dirname "$folder"/nvidia/*/include/cublas_v2.h)" \
    tests/emulation/cublas_header.cc
