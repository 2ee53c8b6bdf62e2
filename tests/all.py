"""Runs every test suite of a build and ends on one line: N passed, N failed.

    python3 tests/all.py BUILD [EMULATED_BUILD]

The C suites run under `meson test`, the Python ones under unittest; each C test case counts once.  The second build is one
with -Demulation=enabled, of which only the suites that run CUDA kernels on the CPU are taken.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parent.parent
build = pathlib.Path(sys.argv[1]).resolve()


def c_suites(build, *arguments):
    """Counts of the cases that the C suites ran, from the log that meson keeps of them."""
    log = build / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    status = subprocess.run(["meson", "test", "-C", str(build), "--print-errorlogs", *arguments]).returncode
    passed = failed = skipped = 0
    for line in log.read_text().splitlines() if log.exists() else []:
        test = json.loads(line)
        output = test.get("stdout", "") + test.get("stderr", "")
        cases = [int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", output)]
        skips = [int(n) for n in re.findall(r"\[  SKIPPED \] (\d+) test", output)]
        fails = [int(n) for n in re.findall(r"\[  FAILED  \] (\d+) test", output)]
        ok = test["result"] in ("OK", "EXPECTEDFAIL")
        if test["result"] == "SKIP":
            skipped += 1
        elif ok:
            passed += sum(cases) if cases else 1
            skipped += sum(skips)
        else:
            passed += sum(cases)
            failed += max(1, sum(fails))
    if status != 0 and failed == 0:
        failed = 1  # meson itself failed: nothing ran
    return passed, failed, skipped


def python_suites():
    library = build / "lib" / "libposlabel.so"
    environment = dict(os.environ, POSLABEL_LIBRARY=str(library), PYTHONDONTWRITEBYTECODE="1")
    folder = root / "bindings" / "python"
    print("\nPython tests", flush=True)
    result = subprocess.run(
        [sys.executable, "-m", "unittest", "discover", "-s", "tests", "-t", "."],
        cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    sys.stdout.write(result.stderr)
    ran = re.search(r"^Ran (\d+) test", result.stderr, re.MULTILINE)
    if not ran:
        return 0, 1, 0
    count = {key: int(n) for key, n in re.findall(r"(failures|errors|skipped)=(\d+)", result.stderr)}
    failed = count.get("failures", 0) + count.get("errors", 0)
    if result.returncode != 0 and failed == 0:
        failed = 1
    skipped = count.get("skipped", 0)
    return int(ran.group(1)) - failed - skipped, failed, skipped


counts = [c_suites(build), python_suites()]
if len(sys.argv) > 2:
    print("\nCUDA kernels on the CPU", flush=True)
    counts.append(c_suites(pathlib.Path(sys.argv[2]).resolve(), "--suite", "cuda-emulated", "--suite", "emulation"))
totals = [sum(n) for n in zip(*counts)]
passed, failed, skipped = totals
if skipped:
    print(f"\nskipped, for want of what they need: {skipped}; the log above says which and why")
print(f"\n{passed} passed, {failed} failed")
sys.exit(1 if failed or not passed else 0)
