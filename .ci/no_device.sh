#!/usr/bin/env bash
# The module that nvcc built, in $1, loads beside the library of that build and says why there is no device; on a machine
# with one there is nothing to see here.
set -euo pipefail
build=$1
if [ -e /proc/driver/nvidia/version ]; then
    echo "this machine has an NVIDIA driver: ./run gpu-test is for it"
    exit 0
fi
reason=$(POSLABEL_LIBRARY=$build/lib/libposlabel.so POSLABEL_CUDA_MODULE=$build/kernels/libposlabel-cuda.so \
    PYTHONPATH=bindings/python python3 - <<'END'
import ctypes, os
library = ctypes.CDLL(os.environ["POSLABEL_LIBRARY"])
reason = ctypes.create_string_buffer(512)
assert library.poslabel_device_supported(2, reason, len(reason)) == 200, reason.value
print(reason.value.decode())
END
)
echo "$reason"
[[ $reason == "no CUDA device: "* ]]
