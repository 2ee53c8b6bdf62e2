#!/usr/bin/env python3
"""Takes each barrier, warp barrier and fence out of the kernels in turn; under ThreadSanitizer the suites should fail.

    tests/emulation/mutants.py [FILE | FILE:LINE ...]       of kernels/, for instance masks.cu or grid.cuh:123

Works on a copy of the source tree, with gcc; takes an hour for all.  Ends on one line, N found, M survived.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYNCHRONISES = re.compile(r"(PLB_BARRIER\(\)|__syncwarp\(\)|__threadfence\(\));")
MINUTES = 10

# The suites that use a file, the likeliest to notice first.
LOSSES = ["droppos", "loss_cuda", "linear"]
MASKS = ["masks_cuda", "masks"]
TOKENS = ["tokens"]
DECODER = ["decoder"]
SUITES = {"attention.cu": ["attention"], "round.cu": ["linear"], "rows.cu": ["linear"],
          "masks.cu": MASKS, "ranks.cuh": MASKS, "decoder_backward.cu": DECODER, "sums.cuh": DECODER,
          "lists.cuh": TOKENS, "tokens.cuh": TOKENS, "tokens_backward.cu": TOKENS}


def verdict(build, module, suites):
    """What noticed, or None."""
    environment = dict(os.environ, POSLABEL_TEST_BACKEND="cuda", POSLABEL_CUDA_MODULE=str(build / module),
                       TSAN_OPTIONS="halt_on_error=1:atexit_sleep_ms=0")
    compiled = subprocess.run(["ninja", "-C", build, module], capture_output=True, text=True)
    if compiled.returncode:
        sys.exit(compiled.stdout)
    for suite in suites:
        try:
            run = subprocess.run([build / "tests" / f"test_{suite}"], env=environment, capture_output=True, text=True,
                                 errors="replace", timeout=60 * MINUTES)
        except subprocess.TimeoutExpired:
            return f"{suite}: not done in {MINUTES} minutes"
        if run.returncode:
            return f"{suite}: {'data race' if 'data race' in run.stderr else f'status {run.returncode}'}"
    return None


def places(kernels, wanted):
    """Each (file, number of a line, what synchronises there); of those that are wanted, or all."""
    every = [(file, number, match.group(0)) for file in sorted(kernels.rglob("*.cu*"))
             for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1)
             if (match := SYNCHRONISES.search(line))]
    named = [{file.name, f"{file.name}:{number}"} for file, number, _ in every]
    for name in wanted:
        if not any(name in names for names in named):
            sys.exit(f"nothing synchronises in {name}: a FILE of kernels/, or FILE:LINE with a barrier or fence")
    return [place for place, names in zip(every, named) if not wanted or names & set(wanted)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("place", metavar="FILE | FILE:LINE", nargs="*", help="of kernels/: masks.cu or grid.cuh:123")
    wanted = parser.parse_args().place
    places(ROOT / "kernels", wanted)
    found = survived = 0
    with tempfile.TemporaryDirectory() as directory:
        source, build = pathlib.Path(directory) / "source", pathlib.Path(directory) / "build"
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns("build*", ".git"))
        subprocess.run([source / ".ci" / "races.sh", build], check=True)
        for file, number, synchronises in places(source / "kernels", wanted):
            text = file.read_text(encoding="utf-8")
            lines = text.split("\n")
            line = lines[number - 1]
            lines[number - 1] = line.replace(synchronises, ";")
            file.write_text("\n".join(lines), encoding="utf-8")
            begin = time.monotonic()
            what = verdict(build, "tests/emulation/libposlabel-cuda-emulated.so", SUITES.get(file.name, LOSSES))
            print(f"{file.name}:{number}: {line.strip()}\n    {what or 'SURVIVED'} ({time.monotonic() - begin:.0f} s)",
                  flush=True)
            found += what is not None
            survived += what is None
            file.write_text(text, encoding="utf-8")
    print(f"{found} found, {survived} survived")
    sys.exit(1 if survived else 0)


main()
