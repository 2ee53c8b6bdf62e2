#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns the JSON of bench_cuda, and of compare_cuda.py if there is one, into Markdown:

    table_cuda.py cuda.json [compare_cuda.json] > RESULTS-cuda.md

./run gpu-bench does that.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Dict, List

from table import clock, row


def print_benchmark(data: Dict[str, Any]) -> None:
    machine, results = data["machine"], data["results"]
    goals = [result[key] for result in results for key in ("target", "rival_target") if key in result]
    print("## Against copies inside the device\n")
    print(f"{machine['gpu']};\nhost {machine['cpu']}, {machine['system']}.")
    print(f"libposlabel {machine['library']}, {machine['date']}, printed by `{machine['command']}`. "
          "How: [README.md](README.md#on-a-gpu).")
    print(f"{sum(goal['met'] for goal in goals)} of {len(goals)} targets met.\n")
    print("| operation | size | dtype | MiB | time | GB/s | against, GB/s | ratio (range) | best | |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|---|")
    for result in results:
        print(row(result))


def print_comparison(data: Dict[str, Any]) -> None:
    facts, lines = data["facts"], data["lines"]
    others = [key for key in ("eager", "compile", "max-autotune", "Triton", "reused")
              if any(key in line["ratios"] for line in lines)]
    goals: List[Dict[str, Any]] = [goal for line in lines for goal in line["targets"]]
    print("\n## Against PyTorch\n")
    print(f"{facts['gpu']}; PyTorch {facts['torch']}, CUDA {facts['cuda']}, Triton {facts['triton']}, libposlabel "
          f"{facts['library']}, {facts['date']}.")
    print("Loss and gradient. Times of the device; ratios, time of the other / time of libposlabel, are medians over the "
          "turns.\n\"reused\" is libposlabel with the caller's buffers. Target: 4 times as fast as eager, twice as fast as "
          "torch.compile\nin the better of its modes.")
    print(f"{sum(goal['met'] for goal in goals)} of {len(goals)} targets met.\n")
    print("| | size | dtype | libposlabel | " + " | ".join(others) + " | |")
    print("|---|---|---|--:|" + "--:|" * len(others) + "---|")
    for line in lines:
        ratios = " | ".join(f"{line['ratios'][key]:.2f}" if key in line["ratios"] else "-" for key in others)
        verdicts = "; ".join(f"≥ {goal['value']:g} × {goal['against']}: " + ("met" if goal["met"] else "**missed**")
                             for goal in line["targets"])
        print(f"| {line['name']} | {line['size']} | {line['dtype']} | {clock(line['seconds']['libposlabel'])} | {ratios} | "
              f"{verdicts} |")
    for reason in facts["left_out"]:
        print(f"\nLeft out: {reason}.")


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    print("# The CUDA backend, measured\n")
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        (print_comparison if "lines" in data else print_benchmark)(data)


if __name__ == "__main__":
    main()
