# SPDX-License-Identifier: Apache-2.0
"""A generous bound on what a call costs above the C call; bench_overhead.py measures it."""

import pathlib
import sys
import unittest

from cases import TestCase, torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import bench_overhead  # noqa: E402

LIMIT = 100  # microseconds; measured values are ten to twenty times lower


class Overhead(TestCase):
    def test_bound(self):
        frameworks = ["numpy"] + (["torch"] if torch is not None else [])
        for measured in bench_overhead.measure(frameworks, loops=100, repeats=5):
            with self.subTest(measured.name, framework=measured.framework):
                self.assertGreater(measured.python, 0)
                self.assertLess(measured.overhead, LIMIT)


if __name__ == "__main__":
    unittest.main()
