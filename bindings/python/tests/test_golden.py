# SPDX-License-Identifier: Apache-2.0
"""The golden vectors: what the published code of each task computes."""

import unittest

import numpy as np
import poslabel
from cases import TestCase, golden


def grid_of(case):
    return (int(case["grid"]), int(case["grid"]))


class Golden(TestCase):
    def test_random_masking(self):
        for name, case in golden("random_masking_*"):
            with self.subTest(name):
                noise = case["noise"]
                result = poslabel.random_mask(noise.shape[1], float(case["mask_ratio"]), noise=noise, ids_remove=True)
                for field, value in result._asdict().items():
                    self.same(value, case[field])
                    self.assertEqual(value.dtype, case[field].dtype)

    def test_smoothing_map(self):
        for name, case in golden("smoothing_map_*"):
            for dtype in ("float32", "float64"):
                with self.subTest(name, dtype=dtype):
                    grid, sigma = grid_of(case), float(case["sigma"])
                    result = poslabel.smoothing_map(grid, sigma, normalization="reference", dtype=dtype)
                    self.assertEqual(result.dtype, dtype)
                    self.close(result, case["map"])

    def test_droppos_loss(self):
        for name, case in golden("droppos_loss_*"):
            for dtype in ("float32", "float64"):
                with self.subTest(name, dtype=dtype):
                    result = poslabel.droppos_loss(
                        case["pred"].astype(dtype),
                        case["ids_keep"],
                        grid=grid_of(case),
                        mask=case["mask_pos"],
                        weights=case.get("attn"),
                        sigma=float(case["sigma"]),
                        normalization="reference",
                        confidence_filter=bool(case["conf_ignore"]),
                        grad_logits=True,
                        accuracy=True,
                    )
                    self.close(result.loss, case["loss"], dtype)
                    self.close(result.grad_logits, case["grad_pred"], dtype)
                    self.close(result.accuracy, case["acc1"], dtype)

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

    def test_drloc(self):
        for kind, pattern in (("cross_entropy", "drloc_ce*"), ("cycle_back", "drloc_cbr*")):
            for name, case in golden(pattern):
                for dtype in ("float32", "float64"):
                    with self.subTest(name, dtype=dtype):
                        pred, given = case["pred"].astype(dtype), dict(kind=kind, grad_logits=True)
                        stacked = poslabel.axis_loss(pred, case["target"], **given)
                        pair = poslabel.axis_loss((pred[..., 0], pred[..., 1]), case["target"], **given)
                        for loss in (stacked.loss, pair.loss):
                            self.close(loss, case["loss"], dtype)
                        for grad in (stacked.grad_logits, np.stack(pair.grad_logits, -1)):
                            self.close(grad, case["grad_pred"], dtype)

    def test_apl_loss(self):
        for name, case in golden("apl_loss_*"):
            side = int(round(case["logits"].shape[-1] ** 0.5))
            for labels in ("absolute", "explicit"):
                with self.subTest(name, labels=labels):
                    self.cross_entropy(case, (side, side), labels)
            self.same(np.tile(poslabel.absolute_labels((side, side)), len(case["logits"])), case["labels"])

    def test_rpl_loss(self):
        for name, case in golden("rpl_loss_*"):
            grid = (int(case["h"]), int(case["w"]))
            for labels in ("relative", "explicit"):
                with self.subTest(name, labels=labels):
                    self.cross_entropy(case, grid, labels)
            self.same(poslabel.relative_labels(grid), case["labels"])

    def cross_entropy(self, case, grid, labels):
        positions = None
        if labels == "explicit":
            shape = case["logits"].shape[:-1]
            positions = np.resize(case["labels"], shape)  # relative labels repeat for each image
        for dtype in ("float32", "float64"):
            result = poslabel.position_cross_entropy(
                case["logits"].astype(dtype), positions, grid=grid, labels=labels, grad_logits=True, accuracy=True
            )
            self.close(result.loss, case["loss"], dtype)
            self.close(result.grad_logits, case["grad_logits"], dtype)
            if "acc1" in case:
                self.close(result.accuracy, case["acc1"], dtype)


if __name__ == "__main__":
    unittest.main()
