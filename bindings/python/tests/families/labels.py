# SPDX-License-Identifier: Apache-2.0
"""Labels of grids and the map that smooths them."""

import numpy as np
import poslabel
import reference
from cases import TestCase, golden, grid_of
from differential import ARITHMETIC, FLOATS, IDS, DifferentialCase
from right import GRID, LOSS, SIDES, Right

DECLARED = {
    "absolute_labels": [Right(GRID, LOSS)],
    "relative_labels": [Right(GRID, LOSS)],
    "smoothing_map": [Right(GRID, LOSS)],
}

ARGUMENTS = {
    "absolute_labels": dict(grid=SIDES),
    "relative_labels": dict(grid=SIDES),
    "smoothing_map": dict(grid=SIDES, sigma=1.0),
}


class Differential(DifferentialCase):
    def labels(self, draw, compute, grid, expected):
        out = draw.output((draw.size(0, 4), *expected.shape), draw.one_of(IDS))
        compute(grid, labels=out, context=draw.context())
        self.same(out, np.broadcast_to(expected, out.shape))
        self.same(compute(grid), expected)

    def case_absolute_labels(self, draw):
        grid = draw.grid()
        self.labels(draw, poslabel.absolute_labels, grid, np.arange(grid[0] * grid[1]))

    def case_relative_labels(self, draw):
        grid = draw.grid(9)
        self.labels(draw, poslabel.relative_labels, grid, reference.relative_labels(grid))

    def case_smoothing_map(self, draw):
        grid, rule, dtype = draw.grid(12), draw.one_of(("row", "reference")), draw.one_of(FLOATS)
        sigma = draw.one_of((0, 1e-3, 0.3, 1, float(draw.rng.uniform(0, 9)), 1e4))
        given = np.float64(sigma) if draw.maybe() else sigma
        result = poslabel.smoothing_map(grid, given, normalization=rule, dtype=dtype, context=draw.context())
        expected = reference.smoothing_map(grid, sigma, rule)
        self.within(result, expected, ARITHMETIC[dtype] * expected.max(), dtype)


class Golden(TestCase):
    def test_smoothing_map(self):
        for name, case in golden("smoothing_map_*"):
            for dtype in ("float32", "float64"):
                with self.subTest(name, dtype=dtype):
                    grid, sigma = grid_of(case), float(case["sigma"])
                    result = poslabel.smoothing_map(grid, sigma, normalization="reference", dtype=dtype)
                    self.assertEqual(result.dtype, dtype)
                    self.close(result, case["map"])
