# SPDX-License-Identifier: Apache-2.0
"""Values that make no sense, for each argument of each function: a call returns, or raises a poslabel.Error that names
the operation, and for a wrong type the rule."""

import decimal
import inspect
import unittest
import warnings

import numpy as np
import poslabel
from cases import TestCase, torch
from families import merged
from right import LOGITS

# A call of each function that is right.
CALLS = {
    **merged("ARGUMENTS"),
    "device_supported": dict(device="cpu"),
    "isa_supported": dict(isa="reference"),
    "philox": dict(seed=0, counter=(0, 0, 0, 0)),
    "random_below": dict(word=1, n=2),
    "random_unit": dict(word=1),
    "status_name": dict(status=0),
}


class NoNumber:
    def __index__(self):
        raise KeyError("index")

    __float__ = __iter__ = __index__


class NoCapsule:
    def __dlpack__(self, **arguments):
        raise SystemError("no capsule")


def values():
    yield from (
        None,
        True,
        False,
        -1,
        0,
        3.0,
        float("nan"),
        2**31,
        2**32,
        2**63,
        2**64,
        10**30,
        10**5000,
        1j,
    )
    yield from (
        "x",
        "",
        b"x",
        "float32",
        [],
        [1, 2],
        {},
        (),
        (1,),
        (1, 2),
        (-1, 2),
        (2.0, 2),
        (2**40, 2**40),
        range(2),
    )
    yield from (
        object(),
        NoNumber(),
        NoCapsule(),
        len,
        int,
        np,
        decimal.Decimal(1),
        memoryview(b"x"),
        poslabel.Context(),
    )
    yield from (np.float32(1), np.int64(2), np.int8(2), np.True_, np.zeros(0), np.zeros((2, 2)), np.array(2))
    yield from (np.zeros(2, object), np.ma.zeros(2), np.array("x"), np.zeros((1,) * 9, np.float32), LOGITS[::-1, ::-1])
    yield np.zeros(3, np.dtype(np.float32).newbyteorder())
    if torch is not None:
        yield from (torch.zeros(2, 4), torch.tensor(1), torch.zeros(2, device="meta"), torch.zeros(2).to_sparse())
        yield from (torch.float32, torch.Size((1, 2)), torch.zeros(2, 4, requires_grad=True), torch.zeros(2, 4).conj())
        yield from (torch.device("cpu"), torch.nn.Linear(2, 2), torch._neg_view(torch.zeros(2, 4)))


class OddValues(TestCase):
    def test_every_function_is_here(self):
        functions = {name for name in poslabel.__all__ if inspect.isfunction(getattr(poslabel, name))}
        self.assertEqual(functions - {"default_context", "library_path", "version", "version_string"}, set(CALLS))

    def test_every_argument(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, arguments in CALLS.items():
                function = getattr(poslabel, name)
                self.try_one(name, function, arguments, "nothing", None)  # linear heads may be left out of a build
                for argument in inspect.signature(function).parameters:
                    for value in values():
                        self.try_one(name, function, {**arguments, argument: value}, argument, value)

    def try_one(self, name, function, arguments, argument, value):
        try:
            function(**arguments)
        except poslabel.Error as error:
            rule = ", must be " if isinstance(error, TypeError) else ""
            self.assertRegex(str(error), f"^{name}: .*{rule}", (argument, type(value)))
        except Exception as error:
            self.fail(f"{name}: {argument} of type {type(value).__name__}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    unittest.main()
