"""Registers, spills and shared memory of every kernel, as the assembler reported them.

    python3 kernels/registers.py BUILD [MOST_SPILLED]

Reads the logs that compile.sh left in BUILD/kernels.  Fails when a kernel spills more than MOST_SPILLED bytes (384) or
when there is no log.  What the losses spill is, but for a few values, what a warp needs once in a batch of rows, outside
the loop over them.
"""

import pathlib
import re
import subprocess
import sys

build = pathlib.Path(sys.argv[1])
most = int(sys.argv[2]) if len(sys.argv) > 2 else 384
entry = re.compile(
    r"Compiling entry function '(?P<name>\w+)' for '(?P<arch>sm_\d+)'.*?"
    r"(?P<stored>\d+) bytes spill stores.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)", re.DOTALL)

rows = []
for log in sorted((build / "kernels").glob("*.log")):
    for kernel in entry.finditer(log.read_text()):
        shared = re.search(r"(\d+) bytes smem", kernel["rest"])
        rows.append((log.name.removesuffix(".log"), kernel["name"], kernel["arch"], int(kernel["registers"]),
                     int(kernel["stored"]), int(shared[1]) if shared else 0))
if not rows:
    sys.exit(f"{build}/kernels has no logs: was the build configured with -Dcuda=enabled?")
names = subprocess.run(["c++filt"], input="\n".join(row[1] for row in rows), capture_output=True, text=True).stdout
names = [re.sub(r"\(.*|^void ", "", name) for name in names.splitlines()]

print(f"{'kernel':58} {'source':20} {'arch':6} registers spilled shared")
for name, (source, _, arch, registers, stored, shared) in sorted(zip(names, rows)):
    print(f"{name[:58]:58} {source:20} {arch:6} {registers:9} {stored:7} {shared:6}")
worst = max(row[4] for row in rows)
spilling = sum(row[4] > 0 for row in rows)
print(f"{len(rows)} kernels; {spilling} spill, at most {worst} bytes; at most {max(row[3] for row in rows)} registers")
sys.exit(f"a kernel spills {worst} bytes, at most {most} are allowed" if worst > most else 0)
