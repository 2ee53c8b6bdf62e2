# SPDX-License-Identifier: Apache-2.0
"""Numbers that change from step to step as scalar arrays, and masks keyed by the index of each sample."""

import unittest

import numpy as np
import poslabel
from cases import TestCase

MASKS = {
    "random_mask": lambda **kwargs: poslabel.random_mask(42, **kwargs),
    "regular_mask": lambda **kwargs: poslabel.regular_mask((6, 7), **kwargs),
    "block_mask": lambda **kwargs: poslabel.block_mask((6, 7), **kwargs),
    "droppos_masks": lambda **kwargs: poslabel.droppos_masks((6, 7), positions=True, places=True, **kwargs),
}


def arrays(result):
    return [array for array in result if array is not None]


class Scalars(TestCase):
    def same(self, result, other):
        for one, another in zip(arrays(result), arrays(other)):
            np.testing.assert_array_equal(one, another)

    def test_step(self):
        for name, masks in MASKS.items():
            with self.subTest(name):
                wanted = masks(batch=4, step=5)
                for dtype in (np.int32, np.int64):
                    self.same(masks(batch=4, step=np.array(5, dtype)), wanted)
                    self.same(masks(batch=4, step=np.array([5], dtype)), wanted)
                self.same(masks(batch=4, step=np.int64(5)), wanted)
                with self.assertRaisesRegex(poslabel.InvalidError, rf"^{name}: step = -1, must be in \[0, 2\^32\)"):
                    masks(batch=4, step=np.array(-1))
                with self.assertRaisesRegex(poslabel.InvalidError, f"^{name}: step has dtype float64"):
                    masks(batch=4, step=np.array(1.0))

    def test_samples(self):
        ids = np.array([9, 2, 5, (1 << 40) + 1])
        for name, masks in MASKS.items():
            with self.subTest(name):
                batch = masks(samples=ids, step=1)
                for b, sample in enumerate(ids[:3]):
                    alone = masks(batch=1, first_sample=int(sample), step=1)
                    for array, one in zip(arrays(batch), arrays(alone)):
                        np.testing.assert_array_equal(array[b], one[0])
                # any world size: strided shares of the indices
                for world in (2, 4):
                    for rank in range(world):
                        share = masks(samples=np.ascontiguousarray(ids[rank::world]), step=1)
                        for array, part in zip(arrays(batch), arrays(share)):
                            np.testing.assert_array_equal(array[rank::world], part)
                with self.assertRaisesRegex(poslabel.InvalidError, rf"^{name}: samples\[1\] = -1, must be in"):
                    masks(samples=np.array([0, -1]), step=1)

    def test_sigma(self):
        logits = np.random.default_rng(0).standard_normal((2, 5, 42)).astype(np.float32)
        positions = np.arange(10).reshape(2, 5)
        for dtype in (np.float32, np.float64):
            for sigma in (0.0, 0.5, 2.0):
                wanted = poslabel.droppos_loss(logits, positions, grid=(6, 7), sigma=sigma, grad_logits=True)
                got = poslabel.droppos_loss(
                    logits, positions, grid=(6, 7), sigma=np.array(sigma, dtype), grad_logits=True
                )
                self.same(got, wanted)
                np.testing.assert_array_equal(
                    poslabel.smoothing_map((3, 4), np.array(sigma, dtype)), poslabel.smoothing_map((3, 4), sigma)
                )
        with self.assertRaisesRegex(poslabel.InvalidError, "^droppos_loss: sigma = -1, must be >= 0 and finite"):
            poslabel.droppos_loss(logits, positions, grid=(6, 7), sigma=np.array(-1.0))
        with self.assertRaisesRegex(poslabel.InvalidError, "^smoothing_map: sigma has shape"):
            poslabel.smoothing_map((3, 4), np.array([1.0, 2.0]))


if __name__ == "__main__":
    unittest.main()
