#!/usr/bin/env python3
"""What the kernels ask of memory, as counted under emulation: see traffic.h.

    meson setup build-traffic -Demulation=enabled -Dcuda=disabled && ninja -C build-traffic tests/emulation/bench_cuda_counted
    tests/emulation/traffic.py [--build build-traffic] [--kib 1024] [--only TEXT] [--lines N]

Runs the CUDA benchmark with --smoke and, of what it measures, TEXT; and prints for each kernel

    KiB          different sectors that its launches read and wrote, in all
    sectors      32-byte sectors that accesses to global memory touched, over the fewest that could hold as many bytes
    global       turns of 128 bytes for a KiB of that traffic; at least 8
    shared       turns of shared memory for the same KiB, and times the fewest that as many bytes could do with
    shuffles     which take a turn each

and with --lines the N lines of source that take most turns.  A multiprocessor has one turn a cycle.
"""

import argparse
import collections
import os
import re
import subprocess
import sys
import tempfile


def symbols(module, addresses):
    """Function and line of addresses, without templates' bodies and folders."""
    run = subprocess.run(["addr2line", "-C", "-f", "-e", module], input="\n".join(addresses), capture_output=True, text=True,
                         check=True)
    lines = run.stdout.split("\n")
    return {a: (lines[2 * i], os.path.basename(lines[2 * i + 1].split(" ")[0])) for i, a in enumerate(addresses)}


def short(name):
    """plb_loss_kernel<float, 8, 7, true, plb_hard_targets>, without its parameters."""
    name = re.sub(r"^(void|emulation::)\s*", "", name)
    depth = 0
    for i, c in enumerate(name):
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0 and i > 0:
            return name[:i]
    return name


def read(path):
    kernels, kernel = collections.OrderedDict(), None
    for line in open(path, encoding="utf-8"):
        words = line.split()
        if words[0] == "kernel":
            kernel = kernels[words[1]] = {"shuffles": int(words[3]), "sectors": int(words[4]) + int(words[5]), "at": []}
        else:
            kernel["at"].append((*words[:3], *map(int, words[3:])))
    return kernels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build-traffic")
    parser.add_argument("--kib", type=int, default=1024)
    parser.add_argument("--only", default="")
    parser.add_argument("--lines", type=int, default=0)
    options = parser.parse_args()
    folder = os.path.join(options.build, "tests", "emulation")
    module = os.path.join(folder, "libposlabel-cuda-counted.so")
    program = os.path.join(folder, "bench_cuda_counted")
    if not os.path.exists(program):
        sys.exit(f"{program} is not there: build it with gcc and without sanitizers, as --help says")
    with tempfile.NamedTemporaryFile() as counts:
        environment = dict(os.environ, EMULATION_TRAFFIC=counts.name, POSLABEL_CUDA_MODULE=os.path.abspath(module))
        subprocess.run([program, f"--smoke={options.kib}", "--only", options.only],
                       env=environment, check=True, stdout=subprocess.DEVNULL)
        kernels = read(counts.name)
    names = symbols(module, list(kernels) + sorted({at[0] for k in kernels.values() for at in k["at"]}))
    print(f"{'KiB':>7} {'sectors':>8} {'global':>7} {'shared':>7}{'':6}{'shuffles':>8}  kernel")
    for address, kernel in kernels.items():
        kib = kernel["sectors"] / 32
        if not kib:
            continue
        glob = [at for at in kernel["at"] if at[1] == "global"]
        shared = [at for at in kernel["at"] if at[1] == "shared"]
        sectors, least = sum(at[5] for at in glob), sum(at[6] for at in glob)
        turns, fewest = sum(at[7] for at in shared), sum(at[8] for at in shared)
        print(f"{kib:7.0f} {sectors / least:8.2f} {sum(at[7] for at in glob) / kib:7.1f} {turns / kib:7.1f}"
              f"{f' x{turns / fewest:.1f}' if fewest else '':6}{kernel['shuffles'] / kib:8.1f}  {short(names[address][0])}")
        by_line = collections.Counter()
        for at in kernel["at"]:
            by_line[(names[at[0]][1], at[1], at[2])] += at[7]
        for (line, space, what), turns in by_line.most_common(options.lines):
            print(f"{turns / kib:31.1f}  {line} ({space} {what})")


main()
