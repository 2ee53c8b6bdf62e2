# SPDX-License-Identifier: Apache-2.0
"""The tokens of MAE's decoder, and their gradient."""

import numpy as np
import poslabel
from cases import TestCase, golden
from differential import DifferentialCase
from right import FEATURES, Right

DECODER = {"B": 2, "N": 12, "K": 3, "P": 2, "D": 5}

DECLARED = {
    "decoder_tokens": [
        Right({"prefix_count": 2}, {**DECODER, "E": 1}),
        Right({}, {**DECODER, "P": 0, "E": 0}, without=("mask_token",)),
    ],
    "decoder_tokens_backward": [
        Right({"prefix_count": 2, "visible_count": 3}, {**DECODER, "E": 2}),
        Right({}, {**DECODER, "P": 0, "E": 0}, without=("grad_pos_embed",)),
    ],
}

ARGUMENTS = {
    "decoder_tokens": dict(x=FEATURES, ids_restore=np.zeros((2, 4), int)),
    "decoder_tokens_backward": dict(grad_out=FEATURES, ids_restore=np.zeros((2, 4), int), visible_count=2),
}


def decoder_tokens(x, restore, prefix=0, mask_token=None, pos=None):
    """float64, as are x and the parameters; the first rows of `pos` are those of the prefix."""
    batch, rows, channels = x.shape
    out = np.zeros((batch, prefix + restore.shape[1], channels))
    out[:, :prefix] = x[:, :prefix]
    for b in range(batch):
        for n, i in enumerate(restore[b]):
            if prefix + i < rows:
                out[b, prefix + n] = x[b, prefix + i]
            elif mask_token is not None:
                out[b, prefix + n] = mask_token
    if pos is not None:
        embedded = len(pos) - restore.shape[1]
        out[:, :embedded] += pos[:embedded]
        out[:, prefix:] += pos[embedded:]
    return out


def decoder_tokens_backward(grad_out, restore, prefix, visible, embedded):
    grad_out = grad_out.astype(np.float64)
    batch, _, channels = grad_out.shape
    x = np.zeros((batch, prefix + visible, channels))
    mask_token = np.zeros(channels)
    x[:, :prefix] = grad_out[:, :prefix]
    for b in range(batch):
        for n, i in enumerate(restore[b]):
            if i < visible:
                x[b, prefix + i] += grad_out[b, prefix + n]
            else:
                mask_token += grad_out[b, prefix + n]
    sums = grad_out.sum(0)
    return x, mask_token, np.concatenate((sums[:embedded], sums[prefix:]))


class Differential(DifferentialCase):
    def decoder_case(self, draw):
        batch, tokens, channels, prefix = draw.size(0, 6), draw.size(1, 40), draw.size(1, 200), draw.size(0, 3)
        visible, embedded = int(draw.rng.integers(0, tokens + 1)), int(draw.rng.integers(0, prefix + 1))
        restore = draw.orders(batch, tokens, tokens)
        if draw.maybe(0.3):
            restore[...] = draw.rng.integers(0, tokens, restore.shape)  # no permutation
        return batch, tokens, channels, prefix, visible, embedded, restore

    def case_decoder_tokens(self, draw):
        batch, tokens, channels, prefix, visible, embedded, restore = self.decoder_case(draw)
        dtype = draw.one_of(("float16", "float32"))
        x = draw.numbers((batch, prefix + visible, channels), dtype)
        mask_token = draw.numbers(channels, dtype) if draw.maybe(0.8) else None
        pos = draw.numbers((embedded + tokens, channels), dtype) if draw.maybe(0.8) else None
        out = draw.output((batch, prefix + tokens, channels), dtype)
        poslabel.decoder_tokens(
            draw.lay(x),
            draw.lay(restore),
            prefix_count=prefix,
            mask_token=None if mask_token is None else draw.lay(mask_token),
            pos_embed=None if pos is None else draw.lay(pos),
            out=out,
            context=draw.context(),
        )
        wide = [None if array is None else array.astype(np.float64) for array in (mask_token, pos)]
        expected = decoder_tokens(x.astype(np.float64), restore, prefix, *wide)
        self.within(out, expected, 1e-6 * np.abs(expected).max(initial=0), dtype)

    def case_decoder_tokens_backward(self, draw):
        batch, tokens, channels, prefix, visible, embedded, restore = self.decoder_case(draw)
        dtype = draw.one_of(("float16", "float32"))
        grad_out = draw.numbers((batch, prefix + tokens, channels), dtype)
        has_x, has_mask_token, has_pos = draw.one_of([(i & 1, i & 2, i & 4) for i in range(1, 8)])
        result = poslabel.decoder_tokens_backward(
            draw.lay(grad_out),
            draw.lay(restore),
            prefix_count=prefix,
            visible_count=-1 if has_x and draw.maybe() else visible,
            grad_x=draw.output((batch, prefix + visible, channels), dtype) if has_x else False,
            grad_mask_token=bool(has_mask_token),
            grad_pos_embed=draw.output((embedded + tokens, channels), dtype) if has_pos else False,
            context=draw.context(),
        )
        expected = decoder_tokens_backward(grad_out, restore, prefix, visible, embedded)
        for has, actual, value in zip((has_x, has_mask_token, has_pos), result, expected):
            if has:
                self.within(actual, value, 1e-9, dtype)
            else:
                self.assertIsNone(actual)


class Golden(TestCase):
    def test_mae_decoder(self):
        for name, case in golden("mae_decoder_*"):
            with self.subTest(name):
                x, restore = case["x"], case["ids_restore"]
                parameters = dict(mask_token=case["mask_token"], pos_embed=case["pos_embed"])
                self.close(poslabel.decoder_tokens(x, restore, prefix_count=1, **parameters), case["out"])
                result = poslabel.decoder_tokens_backward(
                    case["grad_out"],
                    restore,
                    prefix_count=1,
                    grad_x=x.shape,
                    grad_mask_token=case["mask_token"].shape,
                    grad_pos_embed=case["pos_embed"].shape,
                )
                for field, value in result._asdict().items():
                    self.close(value, case[field])
