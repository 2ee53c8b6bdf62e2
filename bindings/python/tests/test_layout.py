# SPDX-License-Identifier: Apache-2.0
"""Structs, enumerators and defaults against the C compiler's view of the headers."""

import ctypes
import inspect
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import poslabel
from cases import ROOT, TestCase, declared
from poslabel import _call, _declarations, _library

INCLUDE = pathlib.Path(os.environ.get("POSLABEL_INCLUDE", ROOT / "include"))
COMPILER = os.environ.get("CC", "cc")

# The classes of _declarations by the C name with which their docstrings begin.
CLASSES = {
    re.match(r"\w+", kind.__doc__).group(): kind
    for kind in vars(_declarations).values()
    if getattr(kind, "__module__", None) == _declarations.__name__
}
ENUMS = {CLASSES[name]: [value["name"] for value in enum["values"]] for name, enum in declared("enums").items()}
STRUCTS = {name: CLASSES[name] for name in declared("structs")}
STRUCTS.update({operation["args"]: CLASSES[operation["args"]] for operation in declared("operations").values()})
OPERATIONS = {
    value.name: value
    for name, module in sys.modules.items()
    if name.startswith("poslabel.")
    for value in vars(module).values()
    if isinstance(value, _call.Operation)
}
# Fields that are no parameter of the Python function, and why.
NO_PARAMETER = {("sigma_schedule", "sigma"): "it is what the function returns"}
NO_PARAMETER.update(
    (("axis_loss", f"{name}_{axis}"), f"{name} is a pair") for name in ("logits", "grad_logits") for axis in "yx"
)


def enumerators():
    """The C name and the Python member of each."""
    return [pair for kind, names in ENUMS.items() for pair in zip(names, kind)]


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
    for name, operation in declared("operations").items():
        lines.append(f"{{ {operation['args']} a = {operation['init']};")
        lines.append(f'printf("\\"init {name}\\": {{\\"struct_size\\": %zu", a.struct_size);')
        for field in operation["fields"]:
            if field["kind"] == "number":
                lines.append(f'printf(", \\"{field["name"]}\\": %.17g", (double)a.{field["name"]});')
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
        for kind, names in ENUMS.items():
            self.assertEqual(len(kind), len(names), kind)
        for name, member in enumerators():
            self.assertEqual(self.known[name], member, name)
            self.assertTrue(name.endswith("_" + member.name), name)

    def test_defaults(self):
        for name, operation in declared("operations").items():
            parameters = inspect.signature(getattr(poslabel, name)).parameters
            init = self.known[f"init {name}"]
            self.assertEqual(init["struct_size"], OPERATIONS[name].size)
            for field in operation["fields"]:
                if field["kind"] != "number":
                    continue
                with self.subTest(f"{name}: {field['name']}"):
                    kind = CLASSES.get(field["enum"])
                    value = init[field["name"]]
                    self.assertEqual(dict(enumerators())[field["default"]] if kind else field["default"], value)
                    parameter = parameters.get(field["name"])
                    if parameter is None or parameter.default in (inspect.Parameter.empty, None):
                        continue
                    default = parameter.default
                    self.assertEqual(kind[default.upper()] if isinstance(default, str) else default, value)

    def test_operations(self):
        self.assertEqual(OPERATIONS.keys(), declared("operations").keys())
        missing = set()
        for name, operation in declared("operations").items():
            parameters = inspect.signature(getattr(poslabel, name)).parameters
            fields = [field["name"] for field in operation["fields"] if field["kind"] != "size"]
            # a scalar tensor and the number that it takes the place of are one argument here
            fields = [field[: -len("_scalar")] if field.endswith("_scalar") else field for field in fields]
            missing |= {(name, field) for field in fields if field not in parameters and field != "workspace"}
            self.assertIn(name, poslabel.__all__)
        self.assertEqual(missing, NO_PARAMETER.keys(), "fields without a parameter of the Python function")

    def test_version(self):
        self.assertEqual(_library.NEEDED, self.known["version"])
        self.assertEqual(_library.ABI_MAJOR, self.known["version"] // 10000)


if __name__ == "__main__":
    unittest.main()
