"""Registers, spills and shared memory of every kernel, as the assembler reported them.

    python3 kernels/registers.py BUILD [MOST_SPILLED]

Reads the logs that compile.sh left in BUILD/kernels, and the dynamic shared memory of launches in shared.def.  Fails when
a kernel spills more than MOST_SPILLED bytes (384), when its static and dynamic shared memory are more than a launch can
have, or when there is no log.  What the losses spill is, but for a few values, what a warp needs once in a batch of rows,
outside the loop over them.
"""

import pathlib
import re
import subprocess
import sys

build = pathlib.Path(sys.argv[1])
most = int(sys.argv[2]) if len(sys.argv) > 2 else 384
definitions = pathlib.Path(__file__).with_name("shared.def").read_text()
dynamic = {name: int(size) for name, size in re.findall(r"^PLB_DYNAMIC\((\w+), (\d+)\)$", definitions, re.MULTILINE)}
WITHOUT_ASKING = 48 << 10
BY_ASKING = {75: 64, 80: 163, 86: 99, 87: 163, 88: 99, 89: 99, 90: 227, 100: 227, 103: 227, 110: 227, 120: 99, 121: 99}  # KiB
entry = re.compile(
    r"Compiling entry function '(?P<name>\w+)' for 'sm_(?P<arch>\d+)\w?'.*?"
    r"(?P<stored>\d+) bytes spill stores.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)", re.DOTALL)

rows = []
for log in sorted((build / "kernels").glob("*.log")):
    for kernel in entry.finditer(log.read_text()):
        shared = re.search(r"(\d+) bytes smem", kernel["rest"])
        rows.append((log.name.removesuffix(".log"), kernel["name"], int(kernel["arch"]), int(kernel["registers"]),
                     int(kernel["stored"]), int(shared[1]) if shared else 0))
if not rows:
    sys.exit(f"{build}/kernels has no logs: was the build configured with -Dcuda=enabled?")
names = subprocess.run(["c++filt"], input="\n".join(row[1] for row in rows), capture_output=True, text=True).stdout
names = [re.sub(r"\(.*|^void ", "", name) for name in names.splitlines()]

problems = []
unknown = set(dynamic)
print(f"{'kernel':58} {'source':20} arch registers spilled shared dynamic")
for name, (source, _, arch, registers, stored, shared) in sorted(zip(names, rows)):
    kernel = re.sub(r"<.*|.*::", "", name)
    launched = dynamic.get(kernel, 0)
    unknown.discard(kernel)
    # A launch that wants more has asked for it by cudaFuncSetAttribute().
    limit = WITHOUT_ASKING if launched <= WITHOUT_ASKING else BY_ASKING.get(arch, 99) << 10
    print(f"{name[:58]:58} {source:20} {arch:4} {registers:9} {stored:7} {shared:6} {launched:7}")
    if stored > most:
        problems.append(f"{name} spills {stored} bytes, at most {most} are allowed")
    if shared + launched > limit:
        problems.append(f"{name} has {shared} bytes of static shared memory and up to {launched} of dynamic, together at most "
                        f"{limit} are allowed")
problems += [f"shared.def names {kernel}, which is no kernel" for kernel in sorted(unknown)]
spilling = sum(row[4] > 0 for row in rows)
print(f"{len(rows)} kernels; {spilling} spill, at most {max(row[4] for row in rows)} bytes; "
      f"at most {max(row[3] for row in rows)} registers")
sys.exit("\n".join(problems) or None)
