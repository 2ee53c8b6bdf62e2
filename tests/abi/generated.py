# SPDX-License-Identifier: Apache-2.0
"""Whether the files that bindings/generate.py writes are those of the headers, and whether it refuses wrong headers."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A header, what stands there once, what to put in its place, and what the complaint must be about.
LABELS = ("include/poslabel/labels.h", "/* out [..., N, N] i32 i64 */")
WRONG = [
    (*LABELS, "", "labels.h: poslabel_relative_labels_args: labels: a tensor needs a comment"),
    (*LABELS, "/* of [..., N, N] i32 i64 */", "poslabel_relative_labels_args: labels: unknown direction"),
    (*LABELS, "/* out [..., N, N] i32 int64 */", "poslabel_relative_labels_args: labels: unknown dtype 'int64'"),
    (*LABELS, "/* out [..., N, N] */", "poslabel_relative_labels_args: labels: 'out [..., N, N]' is not"),
    (*LABELS, "/* out [N, ...] i32 */", "poslabel_relative_labels_args: labels: 'out [N, ...] i32' is not"),
    (*LABELS, "/* out [N; N] i32 */", "poslabel_relative_labels_args: labels: 'out [N; N] i32' is not"),
    (*LABELS, "/* out [N] i32, or none */", "poslabel_relative_labels_args: labels: 'out [N] i32, or none' is not"),
    (*LABELS, "/* out [N, N] like label */", "poslabel_relative_labels_args: labels: like label, which is no tensor"),
    (*LABELS, "/* out [N, N] i32 */ int32_t count;", "POSLABEL_RELATIVE_LABELS_ARGS_INIT has 4 values for 5 fields"),
    (LABELS[0], "int32_t normalization;", "long normalization;", "map_args: normalization: unknown type long"),
    (LABELS[0], "POSLABEL_NORMALIZATION_ROW = 0", "POSLABEL_NORMALIZATION_ROW", "labels.h: poslabel_normalization"),
    (LABELS[0], "poslabel_status poslabel_relative_labels(", "int poslabel_relative_labels(", "an operation is"),
    (LABELS[0], "#define POSLABEL_LABELS_H", "#define POSLABEL_LABELS 1", "unknown kind of macro POSLABEL_LABELS"),
    (LABELS[0], "#endif\n#endif\n", "#endif\nextern int x;\n#endif\n", "unknown form of declaration: extern int x;"),
    # right, but another interface
    (*LABELS, "/* out [..., N, N] i32, or NULL */", "operations.json is stale; renew it with bindings/generate.py"),
    (LABELS[0], "_NORMALIZATION_REFERENCE = 1", "_NORMALIZATION_REFERENCE = 2", "poslabel/_declarations.py is stale"),
    ("tests/abi/macros.c", "size += droppos_masks.struct_size;", "", "tests/abi/macros.c is stale"),
]


def check(root):
    command = [sys.executable, "-B", ROOT / "bindings" / "generate.py", "--check", "--root", root]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return result.returncode, result.stdout


status, complaint = check(ROOT)
if status:
    sys.exit(complaint)

failures = 0
with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder)
    shutil.copytree(ROOT / "include", copy / "include")
    for name in ("bindings/operations.json", "bindings/python/poslabel/_declarations.py", "tests/abi/macros.c"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    for name, old, new, expected in WRONG:
        right = (copy / name).read_text()
        if right.count(old) != 1:
            sys.exit(f"{name} has not once: {old}")
        (copy / name).write_text(right.replace(old, new))
        status, complaint = check(copy)
        (copy / name).write_text(right)
        if status != 1 or expected not in complaint or "Traceback" in complaint:
            failures += 1
            print(f"{name} with {new!r}: expected {expected!r}, got status {status} and\n{complaint}")
print(f"the generated files are up to date; {len(WRONG) - failures} of {len(WRONG)} wrong ones were noticed")
sys.exit(failures > 0)
