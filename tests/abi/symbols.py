"""What the shared library exports and needs.

    python3 symbols.py LIBRARY VERSION_SCRIPT INCLUDE_DIR SOVERSION [STATIC_LIBRARY]

The exported symbols are exactly those of the version script, all of them functions named poslabel_*; every function
that a header declares is among them and the other way round; the SONAME is that of the ABI; no library is needed that
a CPU build has no business with.  A static library defines nothing that could clash with a program's own names.
"""

import pathlib
import re
import subprocess
import sys

library, script, include, soversion = sys.argv[1:5]
static = sys.argv[5] if len(sys.argv) > 5 else None
problems = []


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def expect_same(what, got, want):
    if got - want:
        problems.append(f"{what}: too many: {', '.join(sorted(got - want))}")
    if want - got:
        problems.append(f"{what}: missing: {', '.join(sorted(want - got))}")


text = pathlib.Path(script).read_text()
listed = set(re.findall(r"^\s+(\w+);", text, re.MULTILINE))
node = re.match(r"(\w+\.\d+\.?\d*)", text).group(1)

exported = {}
for line in run("nm", "-D", "--defined-only", "--with-symbol-versions", library).splitlines():
    kind, name = line.split()[-2:]
    exported[name] = kind
versions = {name: kind for name, kind in exported.items() if kind == "A"}
functions = {name: kind for name, kind in exported.items() if kind != "A"}
expect_same("symbols of the library against those of the version script", {n.split("@")[0] for n in functions}, listed)
for name, kind in functions.items():
    if not name.startswith("poslabel_"):
        problems.append(f"{name} does not begin with poslabel_")
    if kind != "T":
        problems.append(f"{name} is of kind {kind}, not a function: no data may be exported")
    if "@@" not in name:
        problems.append(f"{name} has no version")
if not any(v.split("@")[0] == node for v in versions):
    problems.append(f"the library has no version node {node}")

declared = set()
for header in pathlib.Path(include).rglob("*.h"):
    code = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
    declared |= set(re.findall(r"POSLABEL_API\s[^;(]*?\b(poslabel_\w+)\s*\(", code))
    for name in re.findall(r"^(?!typedef)[\w *]+\b(poslabel_\w+)\s*\(", code, re.MULTILINE):
        if name not in declared:
            problems.append(f"{name} is declared in {header.name} without POSLABEL_API")
expect_same("functions of the headers against those of the version script", declared, listed)

dynamic = run("readelf", "-dW", library)
soname = re.search(r"\(SONAME\).*\[(.*)\]", dynamic)
if not soname or soname.group(1) != f"libposlabel.so.{soversion}":
    problems.append(f"SONAME is {soname and soname.group(1)}, must be libposlabel.so.{soversion}")
allowed = re.compile(r"(libc|libm|libpthread|ld-linux[\w-]*|libgomp|libomp|libgcc_s|lib[atu]b?san|libclang_rt\.\w+)\.so"
                     r"|lib(openblas\w*|cblas|blas|blis\w*|flexiblas|mkl_rt|nvpl_blas\w*)\.so")
for needed in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
    if not allowed.match(needed):
        problems.append(f"the library needs {needed}")
for line in run("nm", "-D", "--undefined-only", library).splitlines():
    if re.match(r"(cuda[A-Z]|cublas[A-Z]|cu[A-Z]|__cuda)", line.split()[-1]):
        problems.append(f"the library needs {line.split()[-1]}: CUDA is the business of its module")
if "TEXTREL" in dynamic:
    problems.append("the library has relocations in its code")
if re.search(r"\((RPATH|RUNPATH)\)", dynamic):
    problems.append("the library has a run path")
if re.search(r"GNU_STACK.*\bRWE\b", run("readelf", "-lW", library)):
    problems.append("the library asks for an executable stack")

if static:
    for line in run("nm", "-g", "--defined-only", static).splitlines():
        name = line.split()[-1] if len(line.split()) == 3 else ""
        if name and not re.match(r"(poslabel_|plb_|__asan|__odr_asan|_ZTS|\.)", name):
            problems.append(f"the static library defines {name}")

for problem in problems:
    print(problem)
print(f"{len(functions)} functions, {len(problems)} problems")
sys.exit(1 if problems else 0)
