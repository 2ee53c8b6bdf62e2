# SPDX-License-Identifier: Apache-2.0
"""Every operation against float64 NumPy, on arguments drawn at random, on every instruction set.

POSLABEL_SEED repeats a run, whose seed is printed; POSLABEL_SECONDS is the time for each operation.
"""

import os
import sys
import time
import unittest
import zlib

import numpy as np
from cases import declared
from differential import Draw
from families import classes

SEED = int(os.environ.get("POSLABEL_SEED", time.time_ns() % 10**9))
SECONDS = float(os.environ.get("POSLABEL_SECONDS", 0.5))


def setUpModule():
    print(f"differential test: POSLABEL_SEED={SEED}", file=sys.stderr)


class Differential(*classes("Differential")):
    """One method case_<operation>() for each operation, which makes one call; tests of them all are made below."""


def test_of(operation):
    """The test of an operation: calls of it, for SECONDS."""

    def test(self):
        case, end, number = getattr(self, f"case_{operation}"), time.monotonic() + SECONDS, 0
        while not number or time.monotonic() < end:
            try:
                with np.errstate(all="ignore"):
                    case(Draw([SEED, zlib.crc32(operation.encode()), number]))
            except unittest.SkipTest:
                raise
            except Exception as error:
                raise AssertionError(f"{operation}: call {number} with POSLABEL_SEED={SEED}: {error}") from error
            number += 1

    return test


for name in declared("operations"):
    setattr(Differential, f"test_{name}", test_of(name))


if __name__ == "__main__":
    unittest.main()
