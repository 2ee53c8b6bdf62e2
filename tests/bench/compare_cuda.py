#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libposlabel's losses on CUDA against PyTorch's, forward and backward, on one GPU in one process.

    POSLABEL_CUDA_MODULE=<build>/kernels/libposlabel-cuda.so POSLABEL_LIBRARY=<build>/lib/libposlabel.so \\
        PYTHONPATH=bindings/python tests/bench/compare_cuda.py --json compare_cuda.json

The others: PyTorch eagerly, as the published code writes it; torch.compile in its default mode and in
max-autotune-no-cudagraphs; and a Triton kernel of this file that gives loss and gradient in one pass, one program a row.
Each line first checks that all compute the same. Then they take turns. A time is that of the device between two events:
the device is kept busy while the host queues, so that slow hosts and slow Python cost nobody anything, and a copy of twice
the L2 goes before each call. All allocate what they return; "reused" is libposlabel with the caller's buffers.

The exit status is 77 where there is nothing to compare with: no PyTorch, no NumPy, or no GPU in PyTorch.

With --device cpu the script runs on the CPU at tiny sizes, to see that it works; its times then mean nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional

LEFT_OUT = 77
try:
    import numpy  # which libposlabel's bindings import, and PyTorch does without  # noqa: F401
    import torch
    import torch.nn.functional as F
except (ImportError, OSError) as error:  # OSError: of a PyTorch whose libraries are not there
    print(f"{error}: no comparison (PYTHON=... ./run gpu-bench names a Python with PyTorch and NumPy)")
    sys.exit(LEFT_OUT)
try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

import poslabel

Function = Callable[[], Any]

TARGETS = {"eager": 4.0, "compile": 2.0}  # time of these / time of libposlabel
SIZES = ((25088, 14), (1 << 20, 14), (100352, 24))
TINY = ((98, 14), (50, 24))


class Line(NamedTuple):
    """One comparison: functions by name, each of which returns a loss and its gradient."""

    name: str
    size: str
    dtype: str
    functions: Dict[str, Function]


# ---- the others ----


def smoothing_table(side: int, device: str) -> torch.Tensor:
    """The [N, N] targets of DropPos at sigma 1, rows divided by their own sum."""
    axis = torch.arange(side, dtype=torch.float32)
    y, x = (grid.reshape(-1) for grid in torch.meshgrid(axis, axis, indexing="ij"))
    gaussian = torch.exp(-((y[:, None] - y[None]) ** 2 + (x[:, None] - x[None]) ** 2))
    return (gaussian / gaussian.sum(dim=1, keepdim=True)).to(device)


def hard_loss(logits: torch.Tensor, ids: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, ids)


def soft_loss(logits: torch.Tensor, ids: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """In float32, which is what autocast makes of it."""
    return torch.sum(-table[ids] * F.log_softmax(logits, dim=-1, dtype=torch.float32), dim=-1).mean()


def with_backward(loss: Callable[..., torch.Tensor], logits: torch.Tensor, *rest: torch.Tensor) -> Function:
    def run() -> tuple:
        out = loss(logits, *rest)
        return out.detach(), torch.autograd.grad(out, logits)[0]

    return run


if triton is not None:

    @triton.jit
    def fused_rows(logits, ids, table, losses, grad, scale, classes, soft: tl.constexpr, block: tl.constexpr):
        """Loss and gradient of row program_id, which is held in registers."""
        row = tl.program_id(0).to(tl.int64)
        column = tl.arange(0, block)
        inside = column < classes
        z = tl.load(logits + row * classes + column, mask=inside, other=-float("inf")).to(tl.float32)
        z -= tl.max(z, axis=0)
        label = tl.load(ids + row)
        if soft:
            target = tl.load(table + label * classes + column, mask=inside, other=0.0)
        else:
            target = tl.where(column == label, 1.0, 0.0)
        power = tl.exp(z)
        total = tl.sum(power, axis=0)
        mass = tl.sum(target, axis=0)
        loss = mass * tl.log(total) - tl.sum(tl.where(inside, target * z, 0.0), axis=0)
        tl.store(losses + row, loss)
        slope = (power / total * mass - target) * scale
        tl.store(grad + row * classes + column, slope.to(grad.dtype.element_ty), mask=inside)


def fused(logits: torch.Tensor, ids: torch.Tensor, table: torch.Tensor, soft: bool) -> Function:
    rows, classes = logits.shape
    block = triton.next_power_of_2(classes)

    def run() -> tuple:
        losses = torch.empty(rows, device=logits.device)
        grad = torch.empty_like(logits)
        fused_rows[(rows,)](logits, ids, table, losses, grad, 1.0 / rows, classes, soft, block,
                            num_warps=4 if block <= 1024 else 8)
        return losses.mean(), grad

    return run


# ---- the lines ----


def differs(ours: Any, theirs: Any, tolerance: float) -> Optional[str]:
    for name, a, b in zip(("loss", "gradient"), ours, theirs):
        a, b = a.detach(), b.detach()
        # in pieces, since a copy in float32 of the largest gradients would not fit smaller cards
        pieces = list(zip(a.reshape(-1).split(1 << 24), b.reshape(-1).split(1 << 24)))
        error = max(float((x.float() - y.float()).abs().max()) for x, y in pieces)
        size = max(float(y.float().abs().max()) for _, y in pieces)
        if not error <= tolerance * size:
            return f"{name} differs by {error / size if size else error:.3g} of the largest value"
    return None


def make_line(name: str, rows: int, side: int, dtype: torch.dtype, options: argparse.Namespace,
              context: poslabel.Context, why: List[str]) -> Line:
    classes, soft = side * side, name == "DropPos, sigma 1"
    size = f"{rows}x{classes}"
    logits = (2 * torch.randn(rows, classes, device=options.device)).to(dtype)
    ids = torch.randint(classes, (rows,), device=options.device)
    table = smoothing_table(side, options.device)

    def call(**outputs: Any) -> tuple:
        if soft:
            made = poslabel.droppos_loss(logits, ids, grid=(side, side), sigma=1.0, context=context, **outputs)
        else:
            made = poslabel.position_cross_entropy(logits, ids, labels="explicit", context=context, **outputs)
        return made.loss, made.grad_logits

    loss, grad = torch.empty((), device=options.device), torch.empty_like(logits)
    leaf = logits.clone().requires_grad_()
    function = soft_loss if soft else hard_loss
    functions: Dict[str, Function] = {
        "libposlabel": lambda: call(grad_logits=True),
        "reused": lambda: call(loss=loss, grad_logits=grad),
        "eager": with_backward(function, leaf, ids, table),
    }
    if options.compile:
        torch._dynamo.reset()
        for key, mode in (("compile", "default"), ("max-autotune", "max-autotune-no-cudagraphs")):
            functions[key] = with_backward(torch.compile(function, dynamic=False, mode=mode), leaf, ids, table)
    if triton is not None and options.device != "cpu":
        functions["Triton"] = fused(logits, ids, table, soft)

    expected = functions["eager"]()
    tolerance = 2e-5 if dtype == torch.float32 else 2e-2
    for key in list(functions):
        try:
            result = functions[key]()
        except Exception as error:  # whatever a compiler raises
            if key in ("libposlabel", "reused", "eager"):
                raise
            lines = str(error).splitlines()
            why.append(f"{key}, {name} {size} {dtype}: {type(error).__name__}: {lines[0][:160] if lines else ''}")
            del functions[key]
            continue
        context.synchronize()
        problem = differs(result, expected, tolerance)
        if problem:
            sys.exit(f"compare_cuda: {name} {size} {dtype}: {key} and PyTorch: {problem}")
    return Line(name, size, str(dtype).split(".")[-1], functions)


# ---- clocks ----


class DeviceClock:
    """Times of the device, the host being ahead of it."""

    def __init__(self) -> None:
        size = max(2 * getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0), 64 << 20)  # from torch 2.5
        self.halves = torch.zeros(2, size, dtype=torch.uint8, device="cuda")

    def __call__(self, function: Function) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(4_000_000)  # cycles: the host queues the rest meanwhile
        self.halves[0].copy_(self.halves[1])
        begin.record()
        function()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3


def host_clock(function: Function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(line: Line, clock: Callable[[Function], float], options: argparse.Namespace) -> Dict[str, List[float]]:
    """Seconds of each, one for each turn."""
    times: Dict[str, List[float]] = {key: [] for key in line.functions}
    for function in line.functions.values():
        for _ in range(2):
            function()
    start, turn = time.perf_counter(), 0
    while turn < options.rounds or time.perf_counter() - start < options.budget:
        keys = list(times)
        for key in keys[turn % len(keys):] + keys[:turn % len(keys)]:
            times[key].append(clock(line.functions[key]))
        turn += 1
    return times


def quotient(over: List[float], under: List[float]) -> float:
    return statistics.median(a / b for a, b in zip(over, under))


def summary(line: Line, times: Dict[str, List[float]]) -> Dict[str, Any]:
    ratios = {key: quotient(times[key], times["libposlabel"]) for key in times if key != "libposlabel"}
    targets = []
    for key, value in TARGETS.items():
        # whichever mode of the compiler is faster
        names = [name for name in ((key, "max-autotune") if key == "compile" else (key,)) if name in ratios]
        if names:
            measured = min(ratios[name] for name in names)
            targets.append({"against": key, "value": value, "measured": measured, "met": measured >= value})
    return {"name": line.name, "size": line.size, "dtype": line.dtype, "rounds": len(times["eager"]),
            "seconds": {key: statistics.median(samples) for key, samples in times.items()}, "ratios": ratios,
            "targets": targets}


def facts(options: argparse.Namespace, why: List[str]) -> Dict[str, Any]:
    gpu = torch.cuda.get_device_name(0) if options.device != "cpu" else "none: a dry run on the CPU, whose times mean nothing"
    return {"gpu": gpu, "cuda": torch.version.cuda, "torch": torch.__version__,
            "triton": triton.__version__ if triton else None, "library": poslabel.version_string(),
            "date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M UTC}", "left_out": why}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run at tiny sizes")
    parser.add_argument("--budget", type=float, default=1.5, help="seconds for each line (default 1.5)")
    parser.add_argument("--rounds", type=int, default=15, help="at least so many turns (default 15)")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--json", help="also write the results there")
    options = parser.parse_args()
    dry = options.device == "cpu"
    if not dry and not torch.cuda.is_available():
        print(f"PyTorch {torch.__version__} of this Python has no GPU: no comparison (PYTHON=... names another)")
        sys.exit(LEFT_OUT)
    torch.manual_seed(1)
    stream = None if dry else torch.cuda.current_stream().cuda_stream
    context = poslabel.Context(device=options.device, stream=stream)
    clock = host_clock if dry else DeviceClock()
    why: List[str] = []
    results = []
    print(f"{'':18} {'size':14} {'dtype':9} {'libposlabel':>11}  the time of the others / that of libposlabel", flush=True)
    for rows, side in TINY if dry else SIZES:
        for dtype in (torch.float32, torch.bfloat16):
            for name in ("position", "DropPos, sigma 1"):
                try:
                    line = make_line(name, rows, side, dtype, options, context, why)
                    result = summary(line, measure(line, clock, options))
                except torch.cuda.OutOfMemoryError:
                    why.append(f"{name} {rows}x{side * side} {dtype}: the card has not the memory")
                    continue
                if dry:
                    result["targets"] = []
                results.append(result)
                print(f"{line.name:18} {line.size:14} {line.dtype:9} {1e6 * result['seconds']['libposlabel']:8.1f} us  "
                      + ", ".join(f"{key} {value:.2f}" for key, value in result["ratios"].items()) + "  "
                      + ", ".join(f">= {goal['value']:g} {goal['against']} {'met' if goal['met'] else 'MISSED'}"
                                  for goal in result["targets"]), flush=True)
    for reason in why:
        print(f"left out: {reason}")
    goals = [goal for result in results for goal in result["targets"]]
    print(f"\n{len(results)} comparisons; {sum(goal['met'] for goal in goals)} of {len(goals)} targets met")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"facts": facts(options, why), "lines": results}, file, indent=2)


if __name__ == "__main__":
    main()
