#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libposlabel against PyTorch and NumPy, in one process and on as many threads. Prints Markdown.

    POSLABEL_LIBRARY=<build>/lib/libposlabel.so.0 PYTHONPATH=bindings/python tests/bench/compare_pytorch.py --threads 2

Each line first checks that both sides compute the same. Then they take turns, a few calls at a time, of which the first is
not counted; times are medians, ratios are medians over the turns. PyTorch runs eagerly as the published code does: log_softmax
and a materialised target, or F.cross_entropy, and autograd. Both sides allocate what they return; "reused" is libposlabel
with the caller's buffers.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import signal
import statistics
import sys
import time
from typing import Any, Callable, List, NamedTuple, Optional

import numpy as np
import torch
import torch.nn.functional as F

import poslabel

Function = Callable[[], Any]


class Line(NamedTuple):
    """One comparison: functions that do the same work, and what to compile."""

    name: str
    size: str
    theirs: Function
    ours: Function
    reused: Optional[Function] = None
    compiled: Optional[Function] = None


# ---- the other side ----


def position_smoothing(side: int, sigma: float) -> torch.Tensor:
    """The [N, N] map of DropPos, rows divided by their own sum."""
    axis = torch.arange(side, dtype=torch.float32)
    y, x = (grid.reshape(-1) for grid in torch.meshgrid(axis, axis, indexing="ij"))
    gaussian = torch.exp(-((y[:, None] - y[None]) ** 2 + (x[:, None] - x[None]) ** 2) / sigma**2)
    return gaussian / gaussian.sum(dim=1, keepdim=True)


def droppos_loss(logits: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """The loss of DropPos with the target gathered from the map."""
    batch, visible, tokens = logits.shape
    target = torch.gather(table.expand(batch, -1, -1), 1, ids.unsqueeze(-1).expand(-1, -1, tokens))
    loss = torch.sum(-target * F.log_softmax(logits, dim=-1), dim=-1)
    return (loss * mask).sum() / mask.sum()


def argsort_masks(noise: torch.Tensor, keep: int) -> tuple:
    """MAE's random masking, given the noise."""
    ids_shuffle = torch.argsort(noise, dim=1)
    ids_restore = torch.argsort(ids_shuffle, dim=1)
    mask = torch.ones(noise.shape)
    mask[:, :keep] = 0
    return ids_shuffle[:, :keep], ids_restore, torch.gather(mask, 1, ids_restore)


def assemble(tokens: torch.Tensor, cls: torch.Tensor, embedding: torch.Tensor, mask_token: torch.Tensor,
             ids_keep: torch.Tensor, ids_keep_pos: torch.Tensor, ids_restore_pos: torch.Tensor) -> torch.Tensor:
    """DropPos' input of the encoder, gather by gather."""
    batch, _, channels = tokens.shape
    visible = ids_keep.shape[1]

    def pick(from_: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return torch.gather(from_, 1, ids.unsqueeze(-1).expand(-1, -1, channels))

    positions = pick(embedding[:, 1:].expand(batch, -1, -1), ids_keep)
    kept = pick(positions, ids_keep_pos)
    lost = mask_token.expand(batch, visible - ids_keep_pos.shape[1], -1)
    x = pick(tokens, ids_keep) + pick(torch.cat([kept, lost], dim=1), ids_restore_pos)
    return torch.cat([(cls + embedding[:, :1]).expand(batch, -1, -1), x], dim=1)


def with_backward(function: Callable[..., torch.Tensor], leaves: List[torch.Tensor], *rest: Any) -> Function:
    """Loss and gradients of the leaves, fresh ones each time as after zero_grad(set_to_none=True)."""

    def run() -> tuple:
        out = function(*leaves, *rest)
        return (out.detach(), *torch.autograd.grad(out, leaves))

    return run


# ---- clocks ----


def spread(line: Line, functions: List[Function], budget: float) -> List[List[float]]:
    """Seconds of a call of each function, one for each turn."""
    times: List[List[float]] = [[] for _ in functions]
    once = []
    for function in functions:
        function()
        start = time.perf_counter()
        function()
        once.append(max(time.perf_counter() - start, 1e-6))
    calls = [max(1, min(50, int(budget / 40 / seconds))) for seconds in once]
    start = time.perf_counter()
    while time.perf_counter() - start < budget or len(times[0]) < 5:
        for function, count, samples in zip(functions, calls, times):
            function()  # another pool of threads may still be spinning
            before = time.perf_counter()
            for _ in range(count):
                function()
            samples.append((time.perf_counter() - before) / count)
    return times


def clock(seconds: float) -> str:
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 1e-9:.3g} ns"


def quotient(over: List[float], under: List[float]) -> str:
    ratios = sorted(a / b for a, b in zip(over, under))
    return f"{statistics.median(ratios):.1f} ({ratios[len(ratios) // 4]:.1f} to {ratios[-1 - len(ratios) // 4]:.1f})"


class TooLong(Exception):
    pass


def try_compile(function: Callable[..., Any], limit: int, why: List[str], check: Callable[[Any], Any]) -> Optional[Any]:
    """torch.compile(function), tried out by `check`; None, and the reason in `why`, when that fails or takes too long."""
    if why:
        return None
    if not (shutil.which("g++") or shutil.which("clang++")):
        why.append("torch.compile: skipped, no C++ compiler")
        return None

    def expired(*_: Any) -> None:
        raise TooLong

    previous = signal.signal(signal.SIGALRM, expired)
    signal.alarm(limit)
    try:
        compiled = torch.compile(function, dynamic=False)
        check(compiled)
        return compiled
    except TooLong:
        why.append(f"torch.compile: given up after {limit} s")
    except Exception as error:  # whatever the compiler stack raises
        why.append(f"torch.compile: {type(error).__name__}: {str(error).splitlines()[0][:120]}")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    return None


# ---- what is compared ----


def same(name: str, ours: Any, theirs: Any, tolerance: float) -> None:
    a, b = (torch.as_tensor(value).double() for value in (ours, theirs))
    error = float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))
    if not error <= tolerance:
        sys.exit(f"compare_pytorch: {name}: libposlabel and PyTorch differ by {error:.3g} of the largest value")


def loss_line(name: str, size: str, logits: torch.Tensor, function: Callable[..., torch.Tensor], rest: tuple,
              ours: Callable[..., Any], options: argparse.Namespace, why: List[str]) -> Line:
    leaf = logits.clone().requires_grad_()
    theirs = with_backward(function, [leaf], *rest)
    expected, result = theirs(), ours(grad_logits=True)
    same(f"{name} {size}, loss", result.loss, expected[0], 1e-5)
    same(f"{name} {size}, gradient", result.grad_logits, expected[1], 1e-5)
    loss, grad = torch.empty(()), torch.empty_like(logits)
    compiled = None
    if options.compile:
        made = try_compile(function, options.compile_limit, why, lambda call: with_backward(call, [leaf], *rest)())
        compiled = with_backward(made, [leaf], *rest) if made else None
    return Line(f"{name}, loss and gradient", size, theirs, lambda: ours(grad_logits=True),
                lambda: ours(loss=loss, grad_logits=grad), compiled)


def losses(options: argparse.Namespace, context: poslabel.Context, why: List[str]) -> List[Line]:
    lines = []
    for batch, visible, side in ((64, 49, 14), (64, 144, 24)):
        tokens = side * side
        logits = 2 * torch.randn(batch, visible, tokens)
        ids = torch.rand(batch, tokens).argsort(dim=1)[:, :visible].contiguous()
        mask = (torch.rand(batch, visible) < 0.75).float()
        table = position_smoothing(side, 1.0)

        def droppos(logits: Any = logits, ids: Any = ids, mask: Any = mask, side: int = side, **outputs: Any) -> Any:
            return poslabel.droppos_loss(logits, ids, grid=(side, side), mask=mask, sigma=1.0, context=context, **outputs)

        lines.append(loss_line("DropPos, sigma 1", f"{batch}x{visible}x{tokens}", logits, droppos_loss,
                               (ids, mask, table), droppos, options, why))

    logits = 2 * torch.randn(256, 196, 196)
    labels = torch.arange(196).repeat(256)

    def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits.flatten(0, -2), labels)

    def absolute(logits: Any = logits, **outputs: Any) -> Any:
        return poslabel.position_cross_entropy(logits, grid=(14, 14), labels="absolute", context=context, **outputs)

    lines.append(loss_line("absolute", "256x196x196", logits, cross_entropy, (labels,), absolute, options, why))

    pairs = 2 * torch.randn(16, 49 * 49, 169)
    label = torch.as_tensor(poslabel.relative_labels((7, 7), context=context)).long().flatten().repeat(16)

    def relative(logits: Any = pairs, **outputs: Any) -> Any:
        return poslabel.position_cross_entropy(logits, grid=(7, 7), labels="relative", context=context, **outputs)

    lines.append(loss_line("relative", "16x2401x169", pairs, cross_entropy, (label,), relative, options, why))
    return lines


def masks(options: argparse.Namespace, context: poslabel.Context) -> List[Line]:
    lines = []
    for batch in (64, 4096):
        def theirs(batch: int = batch) -> tuple:
            first = argsort_masks(torch.rand(batch, 196), 49)
            return (*first, *argsort_masks(torch.rand(batch, 49), 12))

        def ours(batch: int = batch) -> Any:
            return poslabel.droppos_masks((14, 14), batch=batch, step=0, ids_keep_pos=True, ids_restore_pos=True,
                                          positions=False, mask_dtype="float32", like=torch, context=context)

        made = poslabel.droppos_masks((14, 14), batch=batch, step=0, ids_keep_pos=True, ids_restore_pos=True,
                                      positions=False, mask_dtype="float32", like=torch, context=context)
        outputs = {name: value for name, value in made._asdict().items() if value is not None}

        def reused(outputs: dict = outputs) -> Any:
            return poslabel.droppos_masks((14, 14), step=0, positions=False, context=context, **outputs)

        noise, pos_noise = torch.rand(batch, 196), torch.rand(batch, 49)
        result = poslabel.droppos_masks((14, 14), patch_noise=noise, pos_noise=pos_noise, ids_keep_pos=True,
                                        ids_restore_pos=True, context=context)
        first, second = argsort_masks(noise, 49), argsort_masks(pos_noise, 12)
        if (noise.sort(dim=1).values.diff(dim=1) > 0).all():  # torch.argsort is not stable
            same("masks, ids_restore", result.ids_restore, first[1], 0)
        if (pos_noise.sort(dim=1).values.diff(dim=1) > 0).all():
            same("masks, mask_pos", result.mask_pos, second[2], 0)
        lines.append(Line("both masks of DropPos", f"{batch}x196", theirs, ours, reused))
    return lines


def tokens(options: argparse.Namespace, context: poslabel.Context) -> List[Line]:
    batch, count, channels = 64, 196, 768
    patches = torch.randn(batch, count, channels, requires_grad=True)
    cls, mask_token = (torch.randn(1, 1, channels, requires_grad=True) for _ in range(2))
    embedding = torch.randn(1, 1 + count, channels)
    drawn = poslabel.droppos_masks((14, 14), batch=batch, step=0, ids_keep_pos=True, ids_restore_pos=True, like=torch,
                                   context=context)
    layout = {"ids_keep": drawn.ids_keep, "mask_pos": drawn.mask_pos, "context": context}
    leaves = [patches, cls, mask_token]
    upstream = torch.randn(batch, 1 + 49, channels)
    flat = [value.detach().reshape(-1, channels) for value in (cls, embedding, mask_token)]
    grads = {"grad_tokens": torch.empty_like(patches), "grad_mask_token": torch.empty(channels),
             "grad_prefix_tokens": torch.empty(1, channels)}
    x = torch.empty(batch, 50, channels)

    def forward() -> Any:
        with torch.no_grad():
            return assemble(patches, cls, embedding, mask_token, drawn.ids_keep, drawn.ids_keep_pos, drawn.ids_restore_pos)

    def both() -> Any:
        out = assemble(patches, cls, embedding, mask_token, drawn.ids_keep, drawn.ids_keep_pos, drawn.ids_restore_pos)
        return (out.detach(), *torch.autograd.grad(out, leaves, upstream))

    def ours_forward(x: Any = True) -> Any:
        return poslabel.assemble_tokens(patches.detach(), prefix_tokens=flat[0], pos_embed=flat[1],
                                        mask_token=flat[2][0], x=x, **layout)

    def ours_both(x: Any = True, **outputs: Any) -> Any:
        wanted = outputs or {"grad_tokens": True, "grad_mask_token": True, "grad_prefix_tokens": True}
        out = ours_forward(x)
        return out, poslabel.assemble_tokens_backward(upstream, tokens_per_image=count, prefix_count=1, **wanted, **layout)

    expected, (out, back) = both(), ours_both()
    for name, ours_, theirs_ in (("x", out, expected[0]), ("grad_tokens", back.grad_tokens, expected[1]),
                                 ("grad_prefix", back.grad_prefix_tokens, expected[2].reshape(1, -1)),
                                 ("grad_mask_token", back.grad_mask_token, expected[3].flatten())):
        same(f"token assembly, {name}", ours_, theirs_, 1e-5)
    size = f"{batch}x{count}x{channels}/49"
    return [Line("token assembly, forward", size, forward, ours_forward, lambda: ours_forward(x)),
            Line("token assembly, forward and backward", size, both, ours_both, lambda: ours_both(x, **grads))]


def numpy_masks(options: argparse.Namespace) -> None:
    """The masks of 196 tokens against np.argsort, which runs on one thread."""
    batch, tokens, keep = 4096, 196, 49
    noise = np.random.default_rng(1).random((batch, tokens), dtype=np.float32)
    generator = np.random.default_rng(2)

    def mae() -> tuple:
        ids_shuffle = np.argsort(noise, axis=1)
        ids_restore = np.argsort(ids_shuffle, axis=1)
        return ids_shuffle[:, :keep], ids_restore, ids_restore >= keep

    functions: List[Function] = [lambda: np.argsort(noise, axis=1), lambda: np.argsort(noise, axis=1, kind="stable"), mae]
    names = ["np.argsort", "np.argsort, stable as libposlabel", "MAE's masks: argsort twice and a comparison"]
    functions.append(lambda: np.argsort(generator.random((batch, tokens), dtype=np.float32), axis=1))
    names.append("random numbers and np.argsort")
    counts = [1] if options.threads == 1 else [1, options.threads]
    for threads in counts:
        context = poslabel.Context(threads=threads, isa=options.isa)
        made = poslabel.random_mask(tokens, noise=noise, context=context)
        if not np.array_equal(made.ids_restore, np.argsort(np.argsort(noise, axis=1, kind="stable"), axis=1)):
            sys.exit("compare_pytorch: libposlabel and NumPy draw different masks")
        outputs = {"ids_keep": made.ids_keep, "ids_restore": made.ids_restore, "mask": made.mask, "context": context}
        functions += [lambda o=outputs: poslabel.random_mask(tokens, noise=noise, **o),
                      lambda o=outputs: poslabel.random_mask(tokens, step=0, **o)]
        plural = "" if threads == 1 else "s"
        names += [f"libposlabel, noise given, {threads} thread{plural}", f"libposlabel, Philox, {threads} thread{plural}"]
    times = spread(Line("masks", "", functions[0], functions[0]), functions, 4 * options.budget)
    print(f"\n### Masks of {tokens} tokens, {batch} images: libposlabel against NumPy {np.__version__}\n")
    print("libposlabel writes ids_keep, ids_restore and mask, and keeps the order of equal noise. "
          "np.argsort writes ids_shuffle,\n"
          "is stable only on request, and runs on one thread. The target is to be 10 times as fast as np.argsort.\n")
    print("| | an image | np.argsort / this | stable np.argsort / this |\n|---|--:|--:|--:|")
    best = statistics.median(a / b for a, b in zip(times[0], times[-2]))
    for name, samples in zip(names, times):
        print(f"| {name} | {clock(statistics.median(samples) / batch)} | {quotient(times[0], samples)} | "
              f"{quotient(times[1], samples)} |")
    print(f"\nTarget, with noise given and {options.threads} threads: "
          + ("met." if best >= 10 else f"**missed by {1 - best / 10:.0%}**."))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch and of libposlabel (default 2)")
    parser.add_argument("--isa", default="auto", help="instruction set of libposlabel")
    parser.add_argument("--budget", type=float, default=2.0, help="seconds for each line (default 2)")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--compile-limit", type=int, default=90, help="seconds to wait for one compilation (default 90)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    context = poslabel.Context(threads=options.threads, isa=options.isa)
    why: List[str] = []
    if not options.compile:
        why.append("torch.compile: left out")

    print("## Against PyTorch and NumPy\n")
    print(f"libposlabel {poslabel.version_string()} ({context.isa}), PyTorch {torch.__version__}, "
          f"{options.threads} threads each, {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M UTC}.")
    print("`" + " ".join(["compare_pytorch.py", *sys.argv[1:]]) + "` printed this table. "
          "Ratios are medians, with the quartiles in brackets.\n")
    lines = losses(options, context, why) + masks(options, context) + tokens(options, context)
    print("| | size | PyTorch | torch.compile | libposlabel | reused | PyTorch / libposlabel | compile / libposlabel |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for line in lines:
        functions = [function for function in (line.theirs, line.ours, line.reused, line.compiled) if function]
        times = spread(line, functions, options.budget)
        shown = [clock(statistics.median(samples)) for samples in times]
        print(f"| {line.name} | {line.size} | {shown[0]} | {shown[3] if line.compiled else '-'} | {shown[1]} | {shown[2]} | "
              f"{quotient(times[0], times[1])} | {quotient(times[3], times[1]) if line.compiled else '-'} |", flush=True)
    for reason in why:
        print(f"\n{reason}.")
    numpy_masks(options)


if __name__ == "__main__":
    main()
