#!/usr/bin/env bash
# Fetches cuBLAS from the Python package of it to the folder $1, where there is a CUDA toolkit that has none.
set -euo pipefail
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
echo "fetching $package"
python3 -m pip install --quiet --no-deps --target "$1" "$package"
