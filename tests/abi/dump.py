"""Compares the ABI that the headers declare with the dump that is kept here, or renews that dump.

    python3 dump.py compare|renew INCLUDE_DIR VERSION_SCRIPT SOVERSION COMPILER...

abidw reads types from debug information, which a release build has not, and there it would find the inside of the
library too.  So a library of empty functions is made from the headers alone.  That it is the real library's interface
is sure: the compiler holds the real functions against the headers, and symbols.py the exported names.

Exit status 77, "skipped" to meson, where libabigail is missing or the machine is not the dump's.
"""

import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

verb, include, script, soversion = sys.argv[1:5]
compiler = sys.argv[5:]
dump = pathlib.Path(__file__).parent / "libposlabel-x86_64.abi"

for tool in ("abidw", "abidiff"):
    if not shutil.which(tool):
        print(f"skipped: no {tool} (package abigail-tools)")
        sys.exit(77)
if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
    print("skipped: the dump is that of x86_64 Linux")
    sys.exit(77)


def empty_functions():
    source = ["#include <poslabel.h>"]
    for header in sorted(pathlib.Path(include).rglob("*.h")):
        code = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        for prototype in re.findall(r"(POSLABEL_API\s+[^;{}#]+\));", code):
            source.append(prototype + " { __builtin_trap(); }")
    # enumerations that only their numbers stand for in args structs
    for header in sorted(pathlib.Path(include).rglob("*.h")):
        for name in re.findall(r"^\} (poslabel_\w+);", header.read_text(), re.MULTILINE):
            source.append(f"POSLABEL_API void poslabel_abi_{name}({name} *unused);")
            source.append(f"POSLABEL_API void poslabel_abi_{name}({name} *unused) {{ (void)unused; }}")
    return "\n".join(source) + "\n"


with tempfile.TemporaryDirectory() as folder:
    work = pathlib.Path(folder)
    (work / "interface.c").write_text(empty_functions())
    (work / "all.map").write_text(pathlib.Path(script).read_text().replace("global:", "global: poslabel_abi_*;", 1))
    subprocess.run([*compiler, "-std=gnu11", "-g", "-O0", "-w", "-fPIC", "-shared", "-fvisibility=hidden", "-I", include,
                    f"-Wl,-soname,libposlabel.so.{soversion}", f"-Wl,--version-script,{work}/all.map", "-nostdlib",
                    "-o", work / "interface.so", work / "interface.c"], check=True)
    now = work / "now.abi"
    subprocess.run(["abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--no-elf-needed", "--type-id-style",
                    "hash", "--out-file", now, work / "interface.so"], check=True)
    text = re.sub(r" path='[^']*'", "", now.read_text())
    now.write_text(text)
    for needed in ("poslabel_droppos_loss_args", "poslabel_tensor", "'struct_size'", "POSLABEL_REDUCTION_NONE"):
        if needed not in text:
            sys.exit(f"the dump lacks {needed}")
    if verb == "renew":
        dump.write_text(text)
        print(f"wrote {dump}")
        sys.exit(0)
    result = subprocess.run(["abidiff", "--no-default-suppression", "--harmless", dump, now], capture_output=True, text=True)
    print(result.stdout + result.stderr, end="")
    if result.returncode == 0:
        print("no difference")
        sys.exit(0)
    print(f"""
The ABI differs from {dump.name}.  Fields may be appended to args structs and to the options, functions and enumerators
may be added (and written into abi/layout.inc.h and test_abi.c); nothing else may change before the next SOVERSION.
If the difference is allowed: meson compile -C BUILD renew-abi-dump""")
    sys.exit(1)
