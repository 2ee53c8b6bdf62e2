# SPDX-License-Identifier: Apache-2.0
"""Masks."""

import math

import numpy as np
import poslabel
import reference
from cases import TestCase, golden
from differential import FLOATS, IDS, MASKS, DifferentialCase
from right import DRAWN, GRID, SIDES, Right

MASK = {"B": 2, "N": 12, "K": 3}

DECLARED = {
    "random_mask": [Right({"tokens": 12}, MASK)],
    "regular_mask": [Right(GRID, {**MASK, "K": 4})],
    "block_mask": [Right(GRID, {**MASK, "K": 1})],
    "droppos_masks": [
        Right({**GRID, "mask_ratio": 0.25, "pos_mask_ratio": 0.5}, {"B": 2, "N": 12, "V": 9, "K_pos": 4})
    ],
}

ARGUMENTS = {
    "random_mask": dict(tokens=4, **DRAWN),
    "regular_mask": dict(grid=SIDES, **DRAWN),
    "block_mask": dict(grid=SIDES, **DRAWN),
    "droppos_masks": dict(grid=SIDES, **DRAWN),
    "random_mask_keep": dict(tokens=4, mask_ratio=0.5),
    "regular_mask_keep": dict(grid=SIDES),
    "block_mask_keep": dict(grid=SIDES, mask_ratio=0.5),
}


class Differential(DifferentialCase):
    def masks(self, draw, compute, sizes, given, expected):
        outputs = dict.fromkeys(("ids_keep", "ids_remove", "ids_restore", "mask"), True)
        result = compute(*sizes, **given, **outputs, dtype=draw.one_of(IDS), mask_dtype=draw.one_of(MASKS))
        for actual, value in zip(result, expected):
            self.same(actual, value)

    def case_random_mask(self, draw):
        tokens, batch, ratio = draw.size(1, 700), draw.size(1, 9), float(draw.rng.random())
        if draw.maybe():
            noise = draw.numbers((batch, tokens), draw.one_of(FLOATS), draw.one_of((0, 1, 100)))
            given = dict(noise=draw.lay(noise.round() if draw.maybe() else noise), context=draw.context())
            noise = given["noise"]
        else:
            given, seed, samples, step = self.drawn(draw, batch)
            noise = np.stack([reference.words(seed, sample, 1, step, tokens) for sample in samples])
        self.masks(draw, poslabel.random_mask, (tokens, ratio), given, reference.random_masks(noise, ratio))

    def case_regular_mask(self, draw):
        grid = draw.grid(17)
        given, *key = self.drawn(draw, draw.size(1, 5))
        self.masks(draw, poslabel.regular_mask, (grid,), given, reference.regular_masks(grid, *key))

    def case_block_mask(self, draw):
        grid, ratio = draw.grid(17), float(draw.rng.random())
        given, *key = self.drawn(draw, draw.size(1, 5))
        if math.isqrt(grid[0] * grid[1] - int(ratio * grid[0] * grid[1])) <= min(grid):  # the square fits
            expected = reference.block_masks(grid, ratio, *key)
            self.masks(draw, poslabel.block_mask, (grid, ratio), given, expected)

    def case_droppos_masks(self, draw):
        grid, batch = draw.grid(15), draw.size(1, 5)
        ratio, pos_ratio = float(draw.rng.random()), float(draw.rng.random())
        tokens = grid[0] * grid[1]
        given, seed, samples, step = self.drawn(draw, batch)
        patches = reference.random_masks(
            np.stack([reference.words(seed, sample, 1, step, tokens) for sample in samples]), ratio
        )
        visible = patches[0].shape[1]
        pos, shuffle = (
            np.stack([reference.words(seed, sample, stream, step, visible) for sample in samples]) for stream in (2, 3)
        )
        keep_pos, _, restore_pos, mask_pos = reference.random_masks(pos, pos_ratio)
        result = poslabel.droppos_masks(
            grid, ratio, pos_ratio, **given, **dict.fromkeys(poslabel.DropposMasks._fields, True)
        )
        positions = np.where(mask_pos, -1, patches[0])
        places = reference.random_masks(shuffle, 0)[2]
        for actual, value in zip(result, (*patches, keep_pos, restore_pos, mask_pos, positions, places)):
            self.same(actual, value)


class Golden(TestCase):
    def test_random_masking(self):
        for name, case in golden("random_masking_*"):
            with self.subTest(name):
                noise = case["noise"]
                result = poslabel.random_mask(noise.shape[1], float(case["mask_ratio"]), noise=noise, ids_remove=True)
                for field, value in result._asdict().items():
                    self.same(value, case[field])
                    self.assertEqual(value.dtype, case[field].dtype)
