# SPDX-License-Identifier: Apache-2.0
"""Assembly of an encoder's tokens, and its gradient."""

import numpy as np
import poslabel
import reference
from cases import TestCase, golden
from differential import IDS, MASKS, DifferentialCase
from right import ALL_TOKENS, FEATURES, TOKENS, Right

DECLARED = {
    "assemble_tokens": [
        Right({}, TOKENS, without=("mask_pos",)),
        Right({}, {**ALL_TOKENS, "E": 0}, without=("positions",)),
        Right({}, {**TOKENS, "P": 0, "E": 0}, without=("mask_pos", "prefix_tokens")),
    ],
    "assemble_tokens_backward": [
        Right({"tokens_per_image": 12, "prefix_count": 1}, TOKENS, without=("mask_pos",)),
        Right({"prefix_count": 1}, ALL_TOKENS, without=("positions",)),
    ],
}

ARGUMENTS = {
    "assemble_tokens": dict(tokens=FEATURES),
    "assemble_tokens_backward": dict(grad_x=FEATURES),
}


class Differential(DifferentialCase):
    def tokens_case(self, draw):
        batch, tokens, channels = draw.size(0, 6), draw.size(1, 40), draw.size(1, 200)
        visible = int(draw.rng.integers(0, tokens + 1))
        ids = draw.orders(batch, tokens, visible)
        lost = np.where(draw.rng.random(ids.shape) < 0.5, -1, ids)
        given = dict(ids_keep=draw.lay(ids), context=draw.context())
        kind = draw.one_of(("none", "mask_pos", "positions"))
        if kind == "none":
            lost = ids
        elif kind == "mask_pos":
            given["mask_pos"] = draw.lay((lost < 0).astype(draw.one_of(MASKS)))
        else:
            given["positions"] = draw.lay(lost.astype(draw.one_of(IDS)))
        places = None
        if draw.maybe(0.3):
            places = draw.orders(batch, visible, visible)
            given["places"] = draw.lay(places)
        return batch, tokens, channels, ids, lost, places, given

    def token_dtypes(self, draw):
        """Of tokens, and of the parameters beside them."""
        return draw.one_of((("float16", "float16"), ("float16", "float32"), ("float32",) * 2, ("float64",) * 2))

    def case_assemble_tokens(self, draw):
        batch, tokens, channels, ids, lost, places, given = self.tokens_case(draw)
        dtype, beside = self.token_dtypes(draw)
        prefix = draw.size(0, 3)
        registers = draw.size(0, prefix) if draw.maybe(0.4) else 0
        embedded = prefix - registers if registers or draw.maybe() else 0
        arrays = dict(
            prefix_tokens=draw.numbers((prefix, channels), draw.one_of((dtype, beside))) if prefix else None,
            pos_embed=draw.numbers((tokens + embedded, channels), beside) if draw.maybe(0.8) else None,
            mask_token=draw.numbers(channels, draw.one_of((dtype, beside))) if draw.maybe() else None,
        )
        source = draw.numbers((batch, tokens, channels), dtype)
        laid = {name: None if array is None else draw.lay(array) for name, array in arrays.items()}
        x = draw.output((batch, prefix + ids.shape[1], channels), dtype)
        poslabel.assemble_tokens(self.columns(draw, source), register_count=registers, x=x, **laid, **given)
        wide = [None if array is None else array.astype(np.float64) for array in arrays.values()]
        expected = reference.assemble_tokens(source.astype(np.float64), ids, lost, places, *wide)
        self.within(x, expected, 1e-6 * np.abs(expected).max(initial=0), dtype)

    def case_assemble_tokens_backward(self, draw):
        batch, tokens, channels, ids, lost, places, given = self.tokens_case(draw)
        (dtype, beside), prefix = self.token_dtypes(draw), draw.size(0, 3)
        registers = draw.size(0, prefix) if draw.maybe(0.4) else 0
        grad_x = draw.numbers((batch, prefix + ids.shape[1], channels), dtype)
        result = poslabel.assemble_tokens_backward(
            draw.lay(grad_x),
            tokens_per_image=tokens,
            prefix_count=prefix,
            register_count=registers,
            parameter_dtype=beside,
            grad_tokens=self.columns(draw, np.full((batch, tokens, channels), 77, dtype)),
            grad_mask_token=True,
            grad_prefix_tokens=prefix > 0,
            grad_pos_embed=draw.output((prefix - registers + tokens, channels), beside),
            **given,
        )
        expected = list(reference.assemble_tokens_backward(grad_x, tokens, prefix, ids, lost, places))
        expected[3] = np.delete(expected[3], np.s_[prefix - registers : prefix], 0)
        for actual, value in zip(result, expected):
            if actual is not None:
                self.within(actual, value, 1e-9, str(actual.dtype))
        self.assertEqual(result.grad_mask_token.dtype, beside)


class Golden(TestCase):
    def test_droppos_embed(self):
        for name, case in golden("droppos_embed_*"):
            with self.subTest(name):
                self.droppos_embed(case)

    def droppos_embed(self, case):
        tokens, prefix, pos = case["patch_tokens"], case["cls_token"], case["pos_embed"]
        count = tokens.shape[1]
        grid = (6, count // 6)
        shuffled = "noise_shuffle" in case
        masks = poslabel.droppos_masks(
            grid,
            float(case["mask_ratio"]),
            float(case["pos_mask_ratio"]),
            patch_noise=case["noise_patch"],
            pos_noise=case["noise_pos"],
            shuffle_noise=case.get("noise_shuffle"),
            ids_keep_pos=True,
            ids_restore_pos=True,
            places=shuffled,
        )
        for field in ("ids_keep", "mask", "ids_restore", "ids_keep_pos", "mask_pos", "ids_restore_pos"):
            self.same(getattr(masks, field), case[field])
        if shuffled:
            self.same(masks.places, case["ids_restore_shuffle"])

        mask_token = case["mask_pos_token"] if str(case["mask_token_type"]) == "param" else None
        common = dict(ids_keep=masks.ids_keep, places=masks.places)
        for lost in ({"mask_pos": masks.mask_pos}, {"positions": masks.positions}):
            x = poslabel.assemble_tokens(
                tokens, prefix_tokens=prefix, pos_embed=pos, mask_token=mask_token, **common, **lost
            )
            self.close(x, case["x"])
            back = poslabel.assemble_tokens_backward(
                case["grad_x"],
                tokens_per_image=count,
                prefix_count=1,
                grad_mask_token=True,
                grad_prefix_tokens=True,
                **common,
                **lost,
            )
            self.close(back.grad_tokens, case["grad_patch_tokens"])
            self.close(back.grad_prefix_tokens, case["grad_cls_token"][0])
            if mask_token is not None:
                self.close(back.grad_mask_token, case["grad_mask_pos_token"][0, 0])

        if "attn" in case:
            for dtype in ("float32", "float64"):
                result = poslabel.attentive_weights(
                    tokens.astype(dtype),
                    prefix[0, 0].astype(dtype),
                    pos_embed=pos.astype(dtype),
                    ids_keep=masks.ids_keep,
                    attention=True,
                )
                self.assertEqual(result.weights.dtype, dtype)
                self.close(result.attention, case["attn_full"], dtype)
                self.close(result.weights, case["attn"], dtype)
