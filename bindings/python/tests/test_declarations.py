# SPDX-License-Identifier: Apache-2.0
"""What the comment of each tensor field in the headers says, against what the library does.

The families have right calls of each operation. Their tensors are made from operations.json; then one tensor at a time gets
another dtype or another shape, or is left out.
"""

import ctypes
import unittest

import numpy as np
import poslabel
from cases import TestCase, declared
from families import merged
from poslabel._call import Operation
from poslabel._declarations import DTYPES, Tensor

OPERATIONS = declared("operations")


CALLS = merged("DECLARED")


def numbers_of(shape, sizes):
    """The sizes of a shape that is given in symbols."""
    result = []
    for size in shape:
        value = sizes["..."] if size == "..." else eval(size, {"__builtins__": {}}, dict(sizes))
        result += value if size == "..." else [value]
    return tuple(result)


def contents(shape, dtype):
    """0, 1, 2, ... in each row: ids that are in range, a permutation, weights and noise."""
    values = np.broadcast_to(np.arange(shape[-1] if shape else 1), shape or (1,)).reshape(shape)
    if dtype == "bfloat16":
        return np.ascontiguousarray(values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return np.ascontiguousarray(values).astype(dtype)


class Attempt:
    """A right call with other dtypes, other shapes (numbers of the alternatives), or without some tensor."""

    def __init__(self, name, right, dtypes={}, shapes={}, without=()):
        declared_fields = {field["name"]: field for field in OPERATIONS[name]["fields"]}
        arrays, held, values = {}, [], dict(right.numbers)
        for key, field in declared_fields.items():
            if field["kind"] != "tensor" or key in right.without or key in without:
                continue
            shape = numbers_of(field["shapes"][{**right.shapes, **shapes}.get(key, 0)], right.sizes)
            dtype = dtype_of(field, declared_fields, dtypes)
            arrays[key] = array = contents(shape, dtype)
            if field["direction"] == "out":
                ctypes.memset(array.ctypes.data, 0xA5, array.nbytes)
            sizes = (ctypes.c_int64 * len(shape))(*shape)
            place = (array.ctypes.data, (poslabel.DeviceType.CPU, 0), len(shape))
            tensor = Tensor(*place, (*DTYPES[dtype], 1), ctypes.addressof(sizes), None, 0)
            held.append((sizes, tensor))
            values[key] = ctypes.addressof(tensor)
        operation = Operation(name)
        for key in (field.name for field in operation.fields[1:]):
            default = declared_fields.get(key, {}).get("default")
            values.setdefault(key, 0 if default is None or isinstance(default, str) else default)
        before = {key: array.tobytes() for key, array in arrays.items()}
        args = operation.pack(operation.size, *(values[field.name] for field in operation.fields[1:]))
        context = poslabel.default_context()
        self.status = operation.function(context._handle, args)
        self.message = context.message if self.status else ""
        self.changed = {key for key, array in arrays.items() if array.tobytes() != before[key]}


def dtype_of(field, fields, chosen):
    """The dtype that was chosen, else that of the tensor that this one is like, else float32 or the first."""
    if field["name"] in chosen:
        return chosen[field["name"]]
    if field["like"]:
        return dtype_of(fields[field["like"]], fields, chosen)
    return "float32" if "float32" in field["dtypes"] else field["dtypes"][0]


def may_have(field, dtype, like):
    """Whether the tensor may have the dtype where the one that it is like has the dtype `like`."""
    if field["like"] is None:
        return dtype in field["dtypes"]
    return dtype == like or (field["or_float32"] and dtype == "float32" and like != "float64")


class Declarations(TestCase):
    def each_tensor(self, check):
        """Checks each tensor of each operation, with those right calls of the operation that have it and with all."""
        for name, rights in CALLS.items():
            if rights and "without a CBLAS" in Attempt(name, rights[0]).message:
                continue
            for field in OPERATIONS[name]["fields"]:
                if field["kind"] == "tensor":
                    with self.subTest(name, tensor=field["name"]):
                        check(name, field, [right for right in rights if field["name"] not in right.without], rights)

    def test_operations(self):
        self.assertEqual(CALLS.keys(), OPERATIONS.keys(), "families/ needs right calls of each operation")

    def test_direction(self):
        def check(name, field, having, rights):
            attempts = [Attempt(name, right) for right in having]
            self.assertEqual({attempt.message for attempt in attempts}, {""})
            changed = {field["name"] in attempt.changed for attempt in attempts}
            self.assertEqual(changed, {field["direction"] != "in"})

        self.each_tensor(check)

    def test_dtypes(self):
        def check(name, field, having, rights):
            key, source = field["name"], field["like"]
            fields = {entry["name"]: entry for entry in OPERATIONS[name]["fields"]}
            for like in fields[source]["dtypes"] if source else [None]:
                for dtype in DTYPES:
                    attempt = Attempt(name, having[0], dtypes={source: like, key: dtype})
                    if may_have(field, dtype, like):
                        self.assertEqual(attempt.message, "", f"{dtype}, {source} {like}")
                    else:
                        self.assertRegex(attempt.message, f"^{name}: {key} has dtype {dtype}, must be ")
                        self.assertEqual(attempt.status, poslabel.Status.INVALID)

        self.each_tensor(check)

    def test_null(self):
        def check(name, field, having, rights):
            attempts = [Attempt(name, right, without=[field["name"]]) for right in rights]
            messages = [attempt.message for attempt in attempts]
            if field["optional"]:
                self.assertIn("", messages)
            else:
                self.assertEqual(set(messages), {f"{name}: {field['name']} is NULL, must be given"})

        self.each_tensor(check)

    def test_shapes(self):
        def check(name, field, having, rights):
            for index, shape in enumerate(field["shapes"]):
                attempts = [Attempt(name, right, shapes={field["name"]: index}) for right in having]
                self.assertIn("", [attempt.message for attempt in attempts], shape)

        self.each_tensor(check)


if __name__ == "__main__":
    unittest.main()
