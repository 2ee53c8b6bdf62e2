# SPDX-License-Identifier: Apache-2.0
"""Pairs of cells, their offsets and their features."""

import numpy as np
import poslabel
from cases import TestCase, golden
from differential import FLOATS, IDS, DifferentialCase
from reference import below, words
from right import DRAWN, FEATURES, GRID, SIDES, Right

PAIRS = {"B": 2, "N": 12, "m": 4, "C": 5, "...": (2, 4)}

DECLARED = {
    "cell_pairs": [Right(GRID, PAIRS), Right({**GRID, "kind": poslabel.PairKind.ALL}, {**PAIRS, "m": 12})],
    "cell_offsets": [Right(GRID, PAIRS)],
    "pair_features": [Right({}, PAIRS)],
    "pair_features_backward": [Right({}, PAIRS)],
}

ARGUMENTS = {
    "cell_pairs": dict(grid=SIDES, **DRAWN),
    "cell_offsets": dict(cells=np.zeros((2, 3, 2), int), grid=SIDES),
    "pair_features": dict(features=FEATURES, cells=np.zeros((2, 5, 2), int)),
    "pair_features_backward": dict(grad_pairs=np.ones((2, 5, 6), np.float32), cells=np.zeros((2, 5, 2), int), count=4),
}


def cell_pairs(grid, m, seed, samples, step):
    """Random pairs; all of them where m is None."""
    h, w = grid
    images = []
    for image in samples:
        draws = words(seed, image, 6, step, h * w if m is None else 4 * m)
        if m is None:
            images.append(np.stack((np.arange(h * w), np.argsort(draws, kind="stable")), 1))
        else:
            at = [below(word, grid[k % 2]) for k, word in enumerate(draws)]
            images.append(np.array(at, np.int64).reshape(m, 2, 2) @ np.array((w, 1)))
    return np.array(images, np.int64).reshape(len(samples), h * w if m is None else m, 2)


def cell_offsets(cells, grid, absolute, normalized):
    """float64."""
    a, b = (np.stack(np.divmod(cells[..., k].astype(np.int64), grid[1]), -1) for k in range(2))
    side = np.array(grid)
    offsets, most = (np.abs(a - b), side - 1) if absolute else (a - b + side - 1, 2 * (side - 1))
    return offsets / np.maximum(most, 1) if normalized else offsets.astype(np.float64)


def pair_features(features, cells):
    a, b = (np.take_along_axis(features, cells[..., k, None].astype(np.int64), 1) for k in range(2))
    return np.concatenate((a, b), -1)


def pair_features_backward(grad, cells, count):
    """float64."""
    batch, m, both = grad.shape
    result = np.zeros((batch, count, both // 2))
    halves = grad.astype(np.float64).reshape(batch, m, 2, both // 2)
    for b in range(batch):
        for k in range(2 * m):
            result[b, cells[b, k // 2, k % 2]] += halves[b, k // 2, k % 2]
    return result


class Differential(DifferentialCase):
    def pairs_case(self, draw):
        """B, N, m, C, a dtype and cells."""
        batch, count, m, channels = draw.size(0, 6), draw.size(1, 60), draw.size(0, 70), draw.size(0, 200)
        return batch, count, m, channels, draw.one_of(FLOATS), draw.ids(count, (batch, m, 2))

    def case_cell_pairs(self, draw):
        grid, batch, m = draw.grid(), draw.size(0, 5), draw.size(0, 60)
        kind = draw.one_of(("random", "all"))
        given, *key = self.drawn(draw, batch)
        expected = cell_pairs(grid, m if kind == "random" else None, *key)
        shape = expected.shape
        if draw.maybe():
            given["cells"] = draw.output(shape, draw.one_of(IDS))
        self.same(poslabel.cell_pairs(grid, shape[1], kind=kind, dtype=draw.one_of(IDS), **given), expected)

    def case_cell_offsets(self, draw):
        grid, absolute, normalized = draw.grid(), draw.maybe(), draw.maybe()
        cells = draw.ids(grid[0] * grid[1], (draw.size(0, 5), draw.size(0, 40), 2))
        dtype = draw.one_of(FLOATS if normalized else FLOATS + IDS)
        expected = cell_offsets(cells, grid, absolute, normalized)
        given = dict(offsets=draw.output(cells.shape, dtype)) if draw.maybe() else dict(dtype=dtype)
        result = poslabel.cell_offsets(
            cells, grid, absolute=absolute, normalized=normalized, context=draw.context(), **given
        )
        self.same(result, expected.astype(dtype))

    def case_pair_features(self, draw):
        batch, count, m, channels, dtype, cells = self.pairs_case(draw)
        features = draw.numbers((batch, count, channels), dtype)
        given = dict(pairs=draw.output((batch, m, 2 * channels), dtype)) if draw.maybe() else {}
        result = poslabel.pair_features(self.columns(draw, features), cells, context=draw.context(), **given)
        self.same(result, pair_features(features, cells))
        self.assertEqual(result.dtype, dtype)

    def case_pair_features_backward(self, draw):
        batch, count, m, channels, dtype, cells = self.pairs_case(draw)
        grad = draw.numbers((batch, m, 2 * channels), dtype)
        given = dict(count=count)
        if draw.maybe():
            given = dict(grad_features=self.columns(draw, np.full((batch, count, channels), 77, dtype)))
        result = poslabel.pair_features_backward(draw.lay(grad), cells, context=draw.context(), **given)
        expected = pair_features_backward(grad, cells, count)
        size = pair_features_backward(np.abs(grad), cells, count).max(initial=0)
        self.within(result, expected, (1e-14 if dtype == "float64" else 1e-6) * size, dtype)


class Golden(TestCase):
    def test_drloc_pairs(self):
        for name, case in golden("drloc_*"):
            with self.subTest(name):
                a, b, grid = case["pts_a"], case["pts_b"], case["feats"].shape[2:]
                cells = np.stack((a, b), 2) @ np.array((grid[1], 1))
                flags = dict(absolute=bool(case["use_abs"]), normalized=bool(case["normalize"]))
                self.same(poslabel.cell_offsets(cells, grid, dtype="float64", **flags).reshape(-1, 2), case["target"])
                maps = case["feats"].reshape(*case["feats"].shape[:2], -1)
                self.same(poslabel.pair_features(maps.swapaxes(1, 2), cells), case["pair_features"])
                result = np.empty_like(maps)
                poslabel.pair_features_backward(case["grad_pair"], cells, grad_features=result.swapaxes(1, 2))
                self.close(result, case["grad_feats"].reshape(maps.shape))
