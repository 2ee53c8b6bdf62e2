# SPDX-License-Identifier: Apache-2.0
"""What the suites share: tolerances, random cases, and where the other files of the source tree are."""

import json
import os
import pathlib
import unittest

import numpy as np

try:
    import torch
except ImportError:
    torch = None

ROOT = pathlib.Path(__file__).resolve().parents[3]
GOLDEN = pathlib.Path(os.environ.get("POSLABEL_GOLDEN", ROOT / "tests" / "golden"))
DECLARED = pathlib.Path(os.environ.get("POSLABEL_OPERATIONS", ROOT / "bindings" / "operations.json"))
TOLERANCE = {"float64": 2e-6, "float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}

needs_torch = unittest.skipIf(torch is None, "PyTorch is not installed")


def declared(what):
    """A list of operations.json, by name."""
    return {entry["name"]: entry for entry in json.loads(DECLARED.read_text())[what]}


def golden(pattern):
    """The golden cases of a pattern as (name, arrays), at least one."""
    files = sorted(GOLDEN.glob(pattern + ".npz"))
    if not files:
        raise AssertionError(f"no golden vectors {pattern} in {GOLDEN}; POSLABEL_GOLDEN names another folder")
    for file in files:
        with np.load(file) as arrays:
            yield file.stem, {key: arrays[key] for key in arrays}


def grid_of(case):
    """The square grid of a golden case."""
    return (int(case["grid"]), int(case["grid"]))


class TestCase(unittest.TestCase):
    """With comparisons relative to the largest value."""

    def close(self, actual, expected, dtype="float32", scale=None):
        actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
        self.assertEqual(actual.shape, expected.shape)
        if not actual.size:
            return
        largest = np.abs(expected).max() if scale is None else scale
        error = np.abs(actual - expected).max()
        self.assertLessEqual(error, TOLERANCE[dtype] * largest + 1e-300, f"largest value {largest}")

    def same(self, actual, expected):
        np.testing.assert_array_equal(np.asarray(actual), np.asarray(expected))
