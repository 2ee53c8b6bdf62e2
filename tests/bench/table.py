#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns the JSON of the benchmark into Markdown: table.py bench.json"""

from __future__ import annotations

import json
import sys
from typing import Any, Dict, List


def clock(seconds: float) -> str:
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 1e-9:.3g} ns"


def spread(values: Dict[str, float]) -> str:
    """The median, and in brackets the range of all rounds."""
    return f"{values['median']:.2f} ({values['min']:.2f} to {values['max']:.2f})"


def verdict(target: Dict[str, Any]) -> str:
    rule = "≥" if target["kind"] == "ratio_at_least" else "≤"
    units = {"microseconds_at_most": " µs", "microseconds_above_ideal_at_most": " µs above the ideal"}
    goal = f"{rule} {target['value']:g}{units.get(target['kind'], '')}"
    if target["kind"] in ("microseconds_above_ideal_at_most", "spread_at_most"):
        return f"{target['measured']:.3g}, {goal}: {'met' if target['met'] else '**missed**'}"
    if target["met"]:
        return f"{goal}: met"
    return f"{goal}: **missed by {abs(target['measured'] / target['value'] - 1):.1%}**"


def row(result: Dict[str, Any]) -> str:
    seconds = result["seconds"]["median"]
    traffic = result["read"] + result["written"]
    against = ""
    if result["yardstick"] != "-":
        against = f"{result['yardstick']} {traffic / result['yardstick_seconds']['median'] / 1e9:.1f}"
    remarks = [verdict(result["target"])] if "target" in result else []
    if "rival" in result:
        text = f"{result['rival']['median']:.2f} × the time of {result['rival_name']}"
        remarks.append(text + (f", {verdict(result['rival_target'])}" if "rival_target" in result else ""))
    if "images" in result:
        remarks.append(f"{clock(seconds / result['images'])} an image")
    spread_of = result["ratio" if "ratio" in result else "seconds"]
    if spread_of["q3"] > 1.25 * spread_of["q1"]:
        remarks.append("noisy")
    cells = (
        result["operation"],
        result["size"],
        result["dtype"],
        f"{traffic / 2**20:.{0 if traffic >= 10 << 20 else 2}f}" if traffic else "",
        clock(seconds),
        f"{traffic / seconds / 1e9:.1f}" if traffic else "",
        against,
        spread(result["ratio"]) if "ratio" in result else "",
        f"{result['best_ratio']:.2f}" if "ratio" in result else "",
        "; ".join(remarks),
    )
    return "| " + " | ".join(cells) + " |"


def bandwidth(results: List[Dict[str, Any]], yardstick: str) -> str:
    """The slowest and fastest median of a yardstick on large sizes: how steady the memory was during the run."""
    speeds = [
        (result["read"] + result["written"]) / result["yardstick_seconds"]["median"] / 1e9
        for result in results
        if result["yardstick"] == yardstick and result["read"] + result["written"] >= 250 << 20
    ]
    return f"{yardstick} {min(speeds):.0f} to {max(speeds):.0f} GB/s" if speeds else f"{yardstick} not measured"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        data = json.load(file)
    machine, results = data["machine"], data["results"]
    goals = [result[key] for result in results for key in ("target", "rival_target") if key in result]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    pages = "requested" if machine["huge_pages"] else "off"
    print("## Against memory bandwidth\n")
    print(f"libposlabel {machine['library']}, {machine['date']}, printed by `{machine['command']}`:")
    print(f"{machine['cpu']}, {machine['cores']} cores, L2 {machine['l2_kib']:.0f} KiB per core, "
          f"L3 {machine['l3_mib']:.0f} MiB, {machine['system']};")
    print(f"{threads}, instruction set {machine['isa']}, compiler {machine['compiler']}, huge pages {pages}, load average "
          f"before the run {machine['load']:.2f}.")
    print(f"Medians of the yardsticks on large sizes: {bandwidth(results, 'copy')}, {bandwidth(results, 'read')}.")
    print(f"{sum(goal['met'] for goal in goals)} of {len(goals)} targets met.\n")
    print("| operation | size | dtype | MiB | time | GB/s | against, GB/s | ratio (range) | best | |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|---|")
    for result in results:
        print(row(result))


if __name__ == "__main__":
    main()
