#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a call from Python costs above the same call from C.

For each operation the same descriptors are passed from Python (arrays prepared, outputs given, unless the case says
"made") and from a loop in C that is compiled here; both run on one thread, in turn, and are timed by the CPU time of
that thread, which other programs disturb least. Printed: the medians, their difference, and the ratio of Python to C,
for small tensors, where the difference shows, and for those of a ViT-B/16 with 64 images.

    POSLABEL_LIBRARY=build/lib/libposlabel.so.0 PYTHONPATH=bindings/python python3 bindings/python/bench_overhead.py
"""

import argparse
import ctypes
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import poslabel
from poslabel import _call

PROGRAM = """
#include <time.h>
double run(int (*operation)(void *, const void *), void *context, const void *args, long loops)
{
    struct timespec start, end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    for (long i = 0; i < loops; i++)
        if (operation(context, args))
            return -1;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    return ((double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec)) / (double)loops;
}
"""
SIZES = {"small": (2, (4, 4), 4), "ViT-B/16": (64, (14, 14), 768)}  # images, grid, channels


class Measured(NamedTuple):
    """Microseconds a call."""

    framework: str
    size: str
    name: str
    tensors: int
    c: float
    python: float

    @property
    def overhead(self) -> float:
        return self.python - self.c


def c_loop() -> Optional[Callable[..., float]]:
    """The loop in C, or None where there is no compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = pathlib.Path(folder, "loop.c"), pathlib.Path(folder, "loop.so")
        source.write_text(PROGRAM)
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
        run = ctypes.CDLL(str(library)).run
    run.restype = ctypes.c_double
    run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_long]
    return run


def ctypes_loop(function: Any, handle: Any, args: bytes, loops: int) -> float:
    """In place of the loop in C: the bare foreign call, which costs a little more."""
    start = time.thread_time()
    for _ in range(loops):
        function(handle, args)
    return (time.thread_time() - start) / loops


def record(call: Callable[[], Any]) -> Tuple[_call.Call, bytes]:
    """The operation that call() runs, with its tensors alive, and the bytes of its args struct."""
    found: List[Tuple[_call.Call, bytes]] = []
    original = _call.Call.run

    def run(self: _call.Call, context: Any, *values: Any) -> None:
        values += (0,) * (self.operation.last - len(values))
        found.append((self, self.operation.pack(self.operation.size, *values)))
        original(self, context, *values)

    _call.Call.run = run  # type: ignore[method-assign]
    try:
        call()
    finally:
        _call.Call.run = original  # type: ignore[method-assign]
    return found[-1]


def cases(framework: str, size: str, context: poslabel.Context) -> Iterator[Tuple[str, Callable[[], Any]]]:
    """Names and calls."""
    images, (h, w), channels = SIZES[size]
    count, visible = h * w, h * w // 4
    if framework == "torch":
        import torch
    rng = np.random.default_rng(0)

    def convert(array: np.ndarray) -> Any:
        return torch.from_numpy(array) if framework == "torch" else array

    def real(*shape: int) -> Any:
        return convert(np.asarray(rng.random(shape), np.float32))

    def scalar(dtype: Any = np.float32) -> Any:
        return convert(np.zeros((), dtype))

    logits, gradient = real(images, visible, count), real(images, visible, count)
    like: Dict[str, Any] = dict(like=logits, context=context)
    every: Dict[str, Any] = dict.fromkeys(poslabel.DropposMasks._fields, True)
    masks = poslabel.droppos_masks((h, w), batch=images, step=0, **every, **like)
    weights, loss, accuracy, total, flags = real(images, visible), scalar(), scalar(), scalar(), scalar(np.int32)
    given = masks._asdict()
    minus_one = convert(np.full((), -1, np.float32))
    common: Dict[str, Any] = dict(grid=(h, w), mask=masks.mask_pos, weights=weights, sigma=1.0, context=context)
    yield (
        "droppos_loss",
        lambda: poslabel.droppos_loss(logits, masks.ids_keep, loss=loss, grad_logits=gradient, **common),
    )
    yield (
        "droppos_loss, every output",
        lambda: poslabel.droppos_loss(
            logits,
            masks.ids_keep,
            loss=loss,
            grad_logits=gradient,
            accuracy=accuracy,
            weight_sum=total,
            flags=flags,
            **common,
        ),
    )
    yield "droppos_loss, outputs made", lambda: poslabel.droppos_loss(
        logits, masks.ids_keep, grad_logits=True, **common
    )
    yield (
        "position_cross_entropy",
        lambda: poslabel.position_cross_entropy(
            logits, masks.ids_keep, loss=loss, grad_logits=gradient, context=context
        ),
    )
    yield "scale_gradient", lambda: poslabel.scale_gradient(gradient, minus_one, context=context)
    yield "droppos_masks, every output", lambda: poslabel.droppos_masks((h, w), step=1, context=context, **given)
    yield "droppos_masks, outputs made", lambda: poslabel.droppos_masks((h, w), batch=images, step=1, **like)
    yield (
        "random_mask",
        lambda: poslabel.random_mask(
            count, ids_keep=masks.ids_keep, ids_restore=masks.ids_restore, mask=masks.mask, step=1, context=context
        ),
    )
    tokens, prefix, pos, mask_token = (
        real(images, count, channels),
        real(1, channels),
        real(count + 1, channels),
        real(channels),
    )
    x = real(images, visible + 1, channels)
    lost: Dict[str, Any] = dict(ids_keep=masks.ids_keep, mask_pos=masks.mask_pos, context=context)
    yield (
        "assemble_tokens",
        lambda: poslabel.assemble_tokens(
            tokens, prefix_tokens=prefix, pos_embed=pos, mask_token=mask_token, x=x, **lost
        ),
    )
    yield (
        "assemble_tokens_backward",
        lambda: poslabel.assemble_tokens_backward(
            x, prefix_count=1, grad_tokens=tokens, grad_mask_token=mask_token, grad_prefix_tokens=prefix, **lost
        ),
    )
    cls = real(images, channels)
    yield (
        "attentive_weights",
        lambda: poslabel.attentive_weights(
            tokens, cls, pos_embed=pos, ids_keep=masks.ids_keep, weights=weights, context=context
        ),
    )


def measure(
    frameworks: Sequence[str], sizes: Sequence[str] = ("small",), loops: int = 2000, repeats: int = 25
) -> Iterator[Measured]:
    """Medians over `repeats` of the mean over `loops` calls; a hundredth of the loops for the large size."""
    run = c_loop()
    context = poslabel.Context(threads=1)
    for size in sizes:
        count = loops if size == "small" else max(loops // 100, 3)
        for framework in frameworks:
            for name, call in cases(framework, size, context):
                kept, args = record(call)
                function: Any = kept.operation.function
                handle, pointer = context._handle, ctypes.cast(function, ctypes.c_void_p).value
                times: Tuple[List[float], List[float]] = ([], [])
                for _ in range(repeats):
                    times[0].append(
                        run(pointer, handle, args, count) if run else ctypes_loop(function, handle, args, count)
                    )
                    start = time.thread_time()
                    for _ in range(count):
                        call()
                    times[1].append((time.thread_time() - start) / count)
                if min(times[0]) < 0:
                    raise RuntimeError(f"{name}: {context.message}")
                c, python = (1e6 * statistics.median(values) for values in times)
                yield Measured(framework, size, name, len(kept.held), c, python)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loops", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--small", action="store_true", help="only small tensors")
    options = parser.parse_args()
    frameworks = ["numpy"]
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed: NumPy only")
    else:
        frameworks.append("torch")
        print(f"PyTorch {torch.__version__}", end=", ")
    print(f"NumPy {np.__version__}, Python {sys.version.split()[0]}, libposlabel {poslabel.version_string()}")
    if c_loop() is None:
        print("no C compiler: the C column is the bare foreign call from Python")
    print(
        f"{'':9} {'size':9} {'operation':28} {'tensors':>7} {'C us':>10} {'Python us':>10} {'overhead':>9} {'ratio':>6}"
    )
    sizes = ("small",) if options.small else tuple(SIZES)
    for row in measure(frameworks, sizes, options.loops, options.repeats):
        print(
            f"{row.framework:9} {row.size:9} {row.name:28} {row.tensors:7} {row.c:10.2f} {row.python:10.2f} "
            f"{row.overhead:9.2f} {row.python / row.c:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
