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

    def test_drloc_axes(self):
        for kind, pattern in (("cross_entropy", "drloc_ce*"), ("cycle_back", "drloc_cbr*")):
            for name, case in golden(pattern):
                for dtype in ("float32", "float64"):
                    with self.subTest(name, dtype=dtype):
                        target = case["target"].astype(np.int64)
                        pred, given = case["pred"].astype(dtype), dict(kind=kind, grad_logits=True)
                        stacked = poslabel.axis_loss(pred, target, **given)
                        pair = poslabel.axis_loss((pred[..., 0], pred[..., 1]), target, **given)
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

    def head_arguments(self, case, dtype):
        """The layers of a published head, and which of their gradients is wanted."""
        names = dict(hidden_weight="w1", hidden_bias="b1", middle_weight="w2", middle_bias="b2", weight="wh", bias="bh")
        given = {name: case[key].astype(dtype) for name, key in names.items()}
        return names, {**given, **{f"grad_{name}": True for name in names}}

    def close_head(self, result, names, case, dtype):
        self.close(result.loss, case["loss"], dtype)
        for name, key in names.items():
            self.close(getattr(result, f"grad_{name}"), case[f"grad_{key}"], dtype)

    def test_apl_head(self):
        for name, case in golden("apl_head_*"):
            grid = tuple(int(side) for side in name.split("_")[-1].split("x"))
            for dtype in ("float32", "float64"):
                with self.subTest(name, dtype=dtype):
                    x, half = case["x"].astype(dtype), int(case["half"])
                    names, given = self.head_arguments(case, dtype)
                    grad = np.zeros_like(x)
                    result = poslabel.mlp_position_loss(
                        x[..., :half], grid=grid, accuracy=True, grad_features=grad[..., :half], **given
                    )
                    self.close_head(result, names, case, dtype)
                    self.close(grad, case["grad_x"], dtype)
                    self.close(result.accuracy, case["acc1"], dtype)

    def test_rpl_head(self):
        for name, case in golden("rpl_head_*"):
            for dtype in ("float32", "float64"):
                with self.subTest(name, dtype=dtype):
                    x = case["x"].astype(dtype)
                    names, given = self.head_arguments(case, dtype)
                    grad, half = np.zeros_like(x), x.shape[-1] // 2
                    result = poslabel.pair_position_loss(
                        x[..., :half],
                        x[..., half:],
                        grid=(7, 7),
                        grad_queries=grad[..., :half],
                        grad_keys=grad[..., half:],
                        **given,
                    )
                    self.close_head(result, names, case, dtype)
                    self.close(grad, case["grad_x"], dtype)

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

    def test_regression_loss(self):
        for pattern in ("drloc_l1*", "l1_target_*"):
            for name, case in golden(pattern):
                for dtype in ("float32", "float64"):
                    with self.subTest(name, dtype=dtype):
                        predictions = case["pred"].astype(dtype)
                        result = poslabel.regression_loss(predictions, case["target"], grad_predictions=True)
                        self.close(result.loss, case["loss"], dtype)
                        self.close(result.grad_predictions, case["grad_pred"], dtype)


if __name__ == "__main__":
    unittest.main()
