# SPDX-License-Identifier: Apache-2.0
"""Structs, enumerators and defaults against the C compiler's view of the headers."""

import ctypes
import inspect
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import poslabel
from cases import ROOT, TestCase
from poslabel import _call, _library, attention, context, droppos, labels, linear, loss, masks, position, tensor, tokens

INCLUDE = pathlib.Path(os.environ.get("POSLABEL_INCLUDE", ROOT / "include"))
COMPILER = os.environ.get("CC", "cc")

OPERATIONS = {
    value.name: value
    for module in (attention, droppos, labels, linear, loss, masks, position, tokens)
    for value in vars(module).values()
    if isinstance(value, _call.Operation)
}
STRUCTS = {
    "poslabel_device": context.Device,
    "poslabel_context_options": context.ContextOptions,
    "poslabel_dtype": tensor.DType,
    "poslabel_tensor": tensor.Tensor,
    "poslabel_grid": _call.Grid,
    **{f"poslabel_{name}_args": operation.args for name, operation in OPERATIONS.items()},
}
ENUMS = {
    "POSLABEL_": poslabel.Status,
    "POSLABEL_DEVICE_": poslabel.DeviceType,
    "POSLABEL_ISA_": poslabel.Isa,
    "POSLABEL_LOG_": poslabel.LogLevel,
    "POSLABEL_NORMALIZATION_": poslabel.Normalization,
    "POSLABEL_PATCH_MASK_": poslabel.PatchMask,
    "POSLABEL_LABELS_": poslabel.LabelKind,
    "POSLABEL_REDUCTION_": poslabel.Reduction,
    "POSLABEL_LOSS_": poslabel.LossFlag,
    "POSLABEL_STREAM_": poslabel.Stream,
}


def enumerators():
    for prefix, kind in ENUMS.items():
        for member in kind:
            error = "ERROR_" if kind is poslabel.Status and member else ""
            yield prefix + error + member.name, member


def program():
    """A C program that prints what it knows as JSON."""
    lines = []
    for name, kind in STRUCTS.items():
        lines.append(f'printf("\\"{name}\\": {{\\"\\": %zu", sizeof({name}));')
        for field, _ in kind._fields_:
            lines.append(f'printf(", \\"{field}\\": %zu", offsetof({name}, {field}));')
        lines.append('printf("}, ");')
    for name, _ in enumerators():
        lines.append(f'printf("\\"{name}\\": %d, ", (int){name});')
    for name, operation in OPERATIONS.items():
        lines.append(f"{{ poslabel_{name}_args a = POSLABEL_{name.upper()}_ARGS_INIT;")
        lines.append(f'printf("\\"init {name}\\": {{\\"struct_size\\": %zu", a.struct_size);')
        for field in operation.fields[1:]:
            if dict(operation.args._fields_).get(field.name) is not _call.POINTER:
                lines.append(f'printf(", \\"{field.name}\\": %.17g", (double)a.{field.name});')
        lines.append('printf("}, "); }')
    body = "\n    ".join(lines)
    return f"""#include <poslabel.h>
#include <stdio.h>
int main(void)
{{
    printf("{{");
    {body}
    printf("\\"version\\": %d}}\\n", POSLABEL_VERSION);
    return 0;
}}
"""


@unittest.skipIf(shutil.which(COMPILER) is None, "there is no C compiler")
@unittest.skipIf(not INCLUDE.is_dir(), f"there are no headers in {INCLUDE}; POSLABEL_INCLUDE names another folder")
class Layout(TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            source, binary = pathlib.Path(folder, "layout.c"), pathlib.Path(folder, "layout")
            source.write_text(program())
            subprocess.run([COMPILER, "-std=c11", "-Wall", f"-I{INCLUDE}", source, "-o", binary], check=True)
            cls.known = json.loads(subprocess.run([binary], check=True, stdout=subprocess.PIPE).stdout)

    def test_structs(self):
        self.assertEqual(len(OPERATIONS), 15)
        for name, kind in STRUCTS.items():
            with self.subTest(name):
                expected = dict(self.known[name])
                self.assertEqual(ctypes.sizeof(kind), expected.pop(""))
                self.assertEqual({field: getattr(kind, field).offset for field, _ in kind._fields_}, expected)

    def test_packed_arguments(self):
        for name, operation in OPERATIONS.items():
            with self.subTest(name):
                values = [i + 1 for i in range(len(operation.fields))]
                values[0] = operation.size
                packed = operation.pack(*values)
                self.assertEqual(len(packed), operation.size)
                back = operation.args.from_buffer_copy(packed)
                for field, value in zip(operation.fields, values):
                    found = back
                    for part in field.name.split("."):
                        found = getattr(found, part)
                    self.assertEqual(found, value, field.name)

    def test_enumerators(self):
        for name, member in enumerators():
            self.assertEqual(self.known[name], member, name)

    def test_defaults(self):
        for name, operation in OPERATIONS.items():
            parameters = inspect.signature(getattr(poslabel, name)).parameters
            init = dict(self.known[f"init {name}"])
            self.assertEqual(init.pop("struct_size"), operation.size)
            for field, value in init.items():
                parameter = parameters.get(field)
                if parameter is None or parameter.default in (inspect.Parameter.empty, None):
                    continue
                with self.subTest(f"{name}: {field}"):
                    default = parameter.default
                    if isinstance(default, str):
                        kinds = {
                            "reduction": poslabel.Reduction,
                            "normalization": poslabel.Normalization,
                            "patch_mask": poslabel.PatchMask,
                        }
                        default = kinds[field][default.upper()]
                    self.assertEqual(default, value)

    def test_version(self):
        self.assertEqual(_library.NEEDED, self.known["version"])
        self.assertEqual(_library.ABI_MAJOR, self.known["version"] // 10000)


if __name__ == "__main__":
    unittest.main()
