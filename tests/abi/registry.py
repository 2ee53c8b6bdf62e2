"""That the registry of operations, the headers and the records of layouts name the same.

    python3 registry.py INCLUDE_DIR operations.def layout.inc.h

Each function poslabel_X(context, const poslabel_X_args *) of the headers is an operation of the registry and the other
way round; each function of a backend is one that some operation ends in; each field of an args struct has its record,
in the struct's order.  test_abi.c compares the numbers; it cannot see that a field is missing which lies in a hole.
"""

import pathlib
import re
import sys

include, registry, layout = map(pathlib.Path, sys.argv[1:4])
problems = []


def read(path):
    return re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)


def expect_each(names, among, problem):
    for name in sorted(set(names) - set(among)):
        problems.append(f"{name}: {problem}")


headers = "\n".join(read(path) for path in sorted(include.rglob("*.h")))
functions = []
for name, args in re.findall(r"\bposlabel_(\w+)\s*\([^()]*?\bconst\s+poslabel_(\w+)_args\s*\*", headers):
    functions.append(name)
    if name != args:
        problems.append(f"poslabel_{name}: takes poslabel_{args}_args, must take poslabel_{name}_args")
structs = {}
for name, body in re.findall(r"\bstruct\s+(poslabel_\w+_args)\s*\{(.*?)\}", headers, re.DOTALL):
    structs[name] = re.findall(r"(\w+)\s*(?:\[[^\]]*\]\s*)?[;,]", body)

operations, jobs = {}, set()
for macro, parameters in re.findall(r"^PLB_(OPERATION|HOST_OPERATION|JOB)\(([^)]*)\)", read(registry), re.MULTILINE):
    name, *_, last = (part.strip() for part in parameters.split(","))
    if macro != "JOB":
        operations[name] = last
    else:
        jobs.add(name)
expect_each(functions, operations, f"a function of a header without PLB_OPERATION() in {registry.name}")
expect_each(operations, functions, f"an operation of {registry.name} that no header declares")
expect_each(structs, [f"poslabel_{name}_args" for name in functions], "a struct that no function takes")
expect_each(jobs, operations.values(), f"a PLB_JOB() of {registry.name} that no operation ends in")

records = {}
for kind, name, field in re.findall(r"\b(SIZE|FIELD)\((poslabel_\w+_args),\s*(\w+)", read(layout)):
    records.setdefault(name, []).extend([field] if kind == "FIELD" else [])
expect_each(structs, records, f"a struct without SIZE() in {layout.name}")
expect_each(records, structs, f"a SIZE() in {layout.name} of no struct")
for name in sorted(structs.keys() & records.keys()):
    expect_each(structs[name], records[name], f"a field of {name} without FIELD() in {layout.name}")
    expect_each(records[name], structs[name], f"a FIELD() of {name} in {layout.name} that the struct does not have")
    if sorted(structs[name]) == sorted(records[name]) and structs[name] != records[name]:
        problems.append(f"{name}: {layout.name} has its fields in another order")

tests = pathlib.Path(__file__).resolve().parents[1]
listed = "\n".join(read(path) for path in tests.rglob("meson.build"))
for suite in sorted(tests.rglob("test_*.c")):
    if f"'{suite.stem.removeprefix('test_')}'" not in listed and suite.name not in listed:
        problems.append(f"{suite.name}: a suite that no meson.build of the tests names, so nobody runs it")

for problem in problems:
    print(problem)
print(f"{len(operations)} operations, {len(problems)} problems")
sys.exit(1 if problems or not operations else 0)
