# SPDX-License-Identifier: Apache-2.0
"""What the comment of each tensor field in the headers says, against what the library does.

CALLS has right calls of each operation. Their tensors are made from operations.json; then one tensor at a time gets
another dtype or another shape, or is left out.
"""

import ctypes
import unittest
from typing import Any, Dict, NamedTuple, Tuple

import numpy as np
import poslabel
from cases import TestCase, declared
from poslabel._call import Operation
from poslabel._declarations import DTYPES, Tensor

OPERATIONS = declared("operations")


class Right(NamedTuple):
    """A right call."""

    numbers: Dict[str, Any]  # those that are not the default
    sizes: Dict[str, Any]
    without: Tuple[str, ...] = ()  # the tensors that it must not have
    shapes: Dict[str, int] = {}  # which of the shapes a tensor has, where that is not the first


GRID = {"grid.height": 3, "grid.width": 4}
LOSS = {"...": (2, 3), "N": 12, "C": 12, "D": 5, "n": 2}
AXES = {"...": (2, 3), "n": 5, "n_y": 4, "n_x": 7}
NONE = {"reduction": poslabel.Reduction.NONE}
EXPLICIT = {"labels": poslabel.LabelKind.EXPLICIT}
POSITION_LOSS = [
    Right(EXPLICIT, LOSS),
    Right({**EXPLICIT, **NONE}, LOSS, shapes={"loss": 1}),
    Right(GRID, {**LOSS, "...": (2, 12)}, without=("positions",)),
]
MLP = {**LOSS, "H": 6, "M": 4}
PAIR_HEAD = {**MLP, "B": 2, "Q": 5, "K": 3, "C": 35}


def LAYER(name):
    """The tensors of a layer."""
    return tuple(f"{grad}{name}_{tensor}" for grad in ("", "grad_") for tensor in ("weight", "bias"))


TOKENS = {"B": 2, "N": 12, "V": 4, "P": 1, "D": 5, "E": 1}
ALL_TOKENS = {**TOKENS, "V": 12}
DECODER = {"B": 2, "N": 12, "K": 3, "P": 2, "D": 5}
MASK = {"B": 2, "N": 12, "K": 3}
PAIRS = {"B": 2, "N": 12, "m": 4, "C": 5, "...": (2, 4)}

CALLS = {
    "absolute_labels": [Right(GRID, LOSS)],
    "assemble_tokens": [
        Right({}, TOKENS, without=("mask_pos",)),
        Right({}, {**ALL_TOKENS, "E": 0}, without=("positions",)),
        Right({}, {**TOKENS, "P": 0, "E": 0}, without=("mask_pos", "prefix_tokens")),
    ],
    "assemble_tokens_backward": [
        Right({"tokens_per_image": 12, "prefix_count": 1}, TOKENS, without=("mask_pos",)),
        Right({"prefix_count": 1}, ALL_TOKENS, without=("positions",)),
    ],
    "attentive_weights": [Right({}, TOKENS), Right({}, ALL_TOKENS)],
    "axis_loss": [
        Right({}, AXES, without=("logits_y", "logits_x", "grad_logits_y", "grad_logits_x")),
        Right(NONE, AXES, without=("logits", "grad_logits"), shapes={"loss": 1, "grad_loss": 1}),
    ],
    "block_mask": [Right(GRID, {**MASK, "K": 1})],
    "cell_offsets": [Right(GRID, PAIRS)],
    "cell_pairs": [Right(GRID, PAIRS), Right({**GRID, "kind": poslabel.PairKind.ALL}, {**PAIRS, "m": 12})],
    "decoder_tokens": [
        Right({"prefix_count": 2}, {**DECODER, "E": 1}),
        Right({}, {**DECODER, "P": 0, "E": 0}, without=("mask_token",)),
    ],
    "decoder_tokens_backward": [
        Right({"prefix_count": 2, "visible_count": 3}, {**DECODER, "E": 2}),
        Right({}, {**DECODER, "P": 0, "E": 0}, without=("grad_pos_embed",)),
    ],
    "droppos_loss": [Right(GRID, LOSS), Right({**GRID, **NONE}, LOSS, shapes={"loss": 1})],
    "droppos_masks": [
        Right({**GRID, "mask_ratio": 0.25, "pos_mask_ratio": 0.5}, {"B": 2, "N": 12, "V": 9, "K_pos": 4})
    ],
    "linear_position_loss": POSITION_LOSS,
    "mlp_position_loss": [
        Right(EXPLICIT, MLP),
        Right({**EXPLICIT, **NONE}, MLP, shapes={"loss": 1}),
        Right(GRID, {**MLP, "...": (2, 12), "H": 5}, without=("positions", *LAYER("hidden"))),
        Right(GRID, {**MLP, "...": (2, 12), "M": 6}, without=("positions", *LAYER("middle"))),
    ],
    "pair_position_loss": [
        Right(GRID, PAIR_HEAD),
        Right(GRID, {**PAIR_HEAD, "H": 5, "K": 5}, without=LAYER("hidden")),
        Right(GRID, {**PAIR_HEAD, "M": 6}, without=LAYER("middle")),
    ],
    "pair_features": [Right({}, PAIRS)],
    "pair_features_backward": [Right({}, PAIRS)],
    "position_cross_entropy": POSITION_LOSS,
    "random_mask": [Right({"tokens": 12}, MASK)],
    "regression_loss": [Right({}, LOSS), Right(NONE, LOSS, shapes={"loss": 1})],
    "regular_mask": [Right(GRID, {**MASK, "K": 4})],
    "relative_labels": [Right(GRID, LOSS)],
    "scale_gradient": [Right({}, LOSS, shapes={"grad": 1})],
    "sigma_schedule": [],  # it has no tensor
    "smoothing_map": [Right(GRID, LOSS)],
}


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
        self.assertEqual(CALLS.keys(), OPERATIONS.keys(), "CALLS needs right calls of each operation")

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
