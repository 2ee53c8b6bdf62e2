# SPDX-License-Identifier: Apache-2.0
"""Every documented error of every operation comes as an exception that carries the library's message, and leaves
outputs and the context as they were."""

import ctypes
import re
import unittest

import numpy as np
import poslabel
from cases import TestCase
from poslabel import context, status

INVALID, TYPE, UNSUPPORTED = poslabel.InvalidError, poslabel.InvalidTypeError, poslabel.UnsupportedError


class Statuses(TestCase):
    def test_classes(self):
        for number, kind, also in (
            (100, poslabel.InvalidError, ValueError),
            (200, poslabel.UnsupportedError, NotImplementedError),
            (300, poslabel.OutOfMemoryError, MemoryError),
            (400, poslabel.DeviceError, Exception),
            (500, poslabel.InternalError, RuntimeError),
        ):
            error = status.failure(number, "what: happened")
            self.assertIs(type(error), kind)
            self.assertIsInstance(error, poslabel.Error)
            self.assertIsInstance(error, also)
            self.assertEqual((str(error), error.status), ("what: happened", number))
        unknown = status.failure(150, "")
        self.assertIs(type(unknown), poslabel.Error)
        self.assertEqual(unknown.status, 150)
        self.assertEqual(str(unknown), "libposlabel failed with status 150 (unknown)")

    def test_names(self):
        self.assertEqual(poslabel.status_name(0), "ok")
        self.assertEqual(poslabel.status_name(poslabel.Status.INVALID), "invalid")
        self.assertEqual(poslabel.status_name(12345), "unknown")


class Memory(TestCase):
    def test_an_allocator_that_fails(self):
        libc = ctypes.CDLL(None)
        libc.aligned_alloc.restype = ctypes.c_void_p
        libc.aligned_alloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        libc.free.argtypes = [ctypes.c_void_p]
        full = False

        @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
        def allocate(user, size, alignment):
            return None if full else libc.aligned_alloc(alignment, -(-size // alignment) * alignment)

        @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        def release(user, data, size):
            libc.free(data)

        options = context.ContextOptions(struct_size=ctypes.sizeof(context.ContextOptions))
        options.device.type = poslabel.DeviceType.CPU
        options.allocator.allocate = ctypes.cast(allocate, ctypes.c_void_p).value
        options.allocator.release = ctypes.cast(release, ctypes.c_void_p).value
        handle = ctypes.c_void_p()
        ctx = poslabel.Context()
        ctx.close()
        self.assertEqual(context._create(options, handle), 0)
        ctx._handle = handle.value
        gradient = np.full((2, 6), 7.0)
        arguments = (np.zeros((2, 6)), np.array([0, 1]))
        full = True
        with self.assertRaisesRegex(poslabel.OutOfMemoryError, "^droppos_loss: .*memory"):
            poslabel.droppos_loss(*arguments, grid=(2, 3), sigma=1, grad_logits=gradient, context=ctx)
        self.assertTrue((gradient == 7).all())
        full = False
        poslabel.droppos_loss(*arguments, grid=(2, 3), sigma=1, grad_logits=gradient, context=ctx)
        self.assertFalse((gradient == 7).any())
        ctx.close()


class Errors(TestCase):
    def fails(self, kind, pattern, function, *arguments, **keywords):
        """The call raises `kind` with a message that starts with its name and contains the pattern."""
        outputs = [value for value in keywords.values() if isinstance(value, np.ndarray) and value.flags.writeable]
        before = [value.copy() for value in outputs]
        with self.subTest(function.__name__, pattern=pattern):
            with self.assertRaisesRegex(kind, f"^{function.__name__}: .*{pattern}") as caught:
                function(*arguments, **keywords)
            self.assertEqual(caught.exception.status, kind.status)
            for value, old in zip(outputs, before):
                np.testing.assert_array_equal(value, old)

    def test_labels(self):
        for function in (poslabel.absolute_labels, poslabel.relative_labels):
            out = np.full((6,) if function is poslabel.absolute_labels else (6, 6), 7)
            self.fails(INVALID, "grid", function, (0, 3))
            self.fails(INVALID, "grid", function, (2, -3), labels=out)
            self.fails(
                INVALID,
                "grid.height = 4294967298, must be an integer in \\[-2\\^31",
                function,
                (2**32 + 2, 3),
                labels=out,
            )
            self.fails(INVALID, "labels", function, (2, 3), labels=None)
            self.fails(INVALID, "labels", function, (2, 3), labels=out.astype(np.float32))
            self.fails(INVALID, "labels", function, (2, 4), labels=out)
            frozen = out.copy()
            frozen.flags.writeable = False
            self.fails(INVALID, "labels is read-only, must be writable", function, (2, 3), labels=frozen)
            self.fails(UNSUPPORTED, "labels", function, (2, 3), labels=out[..., ::-1])
        huge = np.zeros(0, np.int64)
        self.fails(INVALID, "grid", poslabel.absolute_labels, (65536, 65536), labels=huge)
        self.fails(INVALID, "", poslabel.relative_labels, (30000, 30000), labels=huge)

    def test_smoothing_map(self):
        function, out = poslabel.smoothing_map, np.ones((6, 6), np.float32)
        for sigma in (-1, float("nan"), float("inf")):
            self.fails(INVALID, "sigma", function, (2, 3), sigma, map=out)
        self.fails(INVALID, "sigma = 'a', must be a number", function, (2, 3), "a")
        self.fails(INVALID, "grid", function, (0, 3), 1)
        self.fails(INVALID, "normalization", function, (2, 3), 1, normalization=9)
        self.fails(
            INVALID,
            "normalization = 'rows', must be one of 'row', 'reference'",
            function,
            (2, 3),
            1,
            normalization="rows",
        )
        self.fails(INVALID, "map", function, (2, 3), 1, map=None)
        self.fails(INVALID, "map", function, (2, 3), 1, map=out[:5])
        self.fails(INVALID, "map", function, (2, 3), 1, map=out.astype(int))

    def test_masks(self):
        noise = np.linspace(0, 1, 16).reshape(2, 8)
        calls = (
            (poslabel.random_mask, (8,), dict(noise=noise)),
            (poslabel.regular_mask, ((2, 4),), dict(batch=2, step=0)),
            (poslabel.block_mask, ((2, 4),), dict(batch=2, step=0)),
            (poslabel.droppos_masks, ((2, 4),), dict(batch=2, step=0)),
        )
        for function, shape, draw in calls:
            out = np.full((2, 8), 5)
            none = dict(ids_keep=None, ids_restore=None, mask=None)
            if function is poslabel.droppos_masks:
                none.update(mask_pos=None, positions=None)
            self.fails(INVALID, "", function, *shape, **none, **draw)
            self.fails(INVALID, "ids_restore", function, *shape, **{**none, "ids_restore": out.astype(float)}, **draw)
            self.fails(INVALID, "mask", function, *shape, **{**none, "mask": out[:, :7]}, **draw)
            self.fails(INVALID, "ids_restore", function, *shape, **{**none, "ids_restore": out[0]}, **draw)
            self.fails(INVALID, "", function, *shape, **{**none, "mask": out, "ids_restore": out}, **draw)
            self.fails(INVALID, "first_sample", function, *shape, first_sample=2**32 - 1, **draw)
            self.fails(
                INVALID,
                r"first_sample = 4294967296, must be an integer in \[0, 2\^32\)",
                function,
                *shape,
                first_sample=2**32,
                **draw,
            )
            self.fails(INVALID, r"seed = -1, must be an integer in \[0, 2\^64\)", function, *shape, seed=-1, **draw)
            for step in (-1, 2**32, 3.0, True, "x", None, np.float32(1)):
                if step is None and "noise" in draw:
                    continue
                text = rf"step = {re.escape(repr(step))}, must be an integer in \[0, 2\^32\)"
                self.fails(INVALID, text, function, *shape, **{**draw, "step": step})
            if function is not poslabel.regular_mask:
                for ratio in (-0.1, 1.1, float("nan")):
                    self.fails(INVALID, "mask_ratio", function, *shape, mask_ratio=ratio, **draw)
                self.fails(INVALID, "mask_ratio = 'x', must be a number", function, *shape, mask_ratio="x", **draw)
            if function is not poslabel.random_mask:
                self.fails(INVALID, "grid", function, (0, 4), **draw)
            if "batch" in draw:
                self.fails(INVALID, "batch = None, must be an integer", function, *shape, step=0)
                self.fails(INVALID, "", function, *shape, batch=3, step=0, ids_restore=out)
        self.fails(INVALID, "tokens", poslabel.random_mask, 0, batch=2, step=0)
        self.fails(INVALID, "tokens", poslabel.random_mask, -3, batch=2, step=0)
        self.fails(INVALID, "noise", poslabel.random_mask, 9, noise=noise)
        self.fails(INVALID, "noise", poslabel.random_mask, 8, noise=noise.astype(int))
        self.fails(INVALID, "noise", poslabel.random_mask, 8, noise=np.where(noise > 0.9, np.nan, noise))
        self.fails(UNSUPPORTED, "noise", poslabel.random_mask, 8, noise=noise[:, ::-1])
        self.fails(INVALID, "", poslabel.block_mask, (1, 9), 0.5, batch=1, step=0)
        self.fails(INVALID, "patch_mask", poslabel.droppos_masks, (2, 4), batch=1, step=0, patch_mask=5)
        self.fails(
            INVALID,
            "patch_mask = 'x', must be one of 'random'",
            poslabel.droppos_masks,
            (2, 4),
            batch=1,
            step=0,
            patch_mask="x",
        )
        self.fails(INVALID, "wrong_positions", poslabel.droppos_masks, (2, 4), batch=1, step=0, wrong_positions=2)
        self.fails(INVALID, "pos_mask_ratio", poslabel.droppos_masks, (2, 4), 0.5, 2, batch=1, step=0)
        self.fails(INVALID, "pos_noise", poslabel.droppos_masks, (2, 4), 0.5, step=0, pos_noise=noise)

    def test_keep_counts(self):
        count, grid = "tokens = .*, must be an integer in", "grid = .*, must be two integers"
        ratio = r"mask_ratio = .*, must be a number in \[0, 1\]$"
        for tokens in (-1, 2**63, "x", 4.0, True, None):
            self.fails(INVALID, count, poslabel.random_mask_keep, tokens, 0.5)
        for value in (float("nan"), -0.5, 2, "x", "0.5", None, 10**400, [1]):
            self.fails(INVALID, ratio, poslabel.random_mask_keep, 4, value)
            self.fails(INVALID, ratio, poslabel.block_mask_keep, (4, 4), value)
        for value in ((0, 4), (-1, -4), (2**16, 2**16)):
            self.fails(INVALID, grid, poslabel.regular_mask_keep, value)
            self.fails(INVALID, grid, poslabel.block_mask_keep, value, 0.5)
        for value in ((2**31, 1), (2**32 + 2, 3)):
            self.fails(INVALID, "grid.height = .*, must be an integer in", poslabel.regular_mask_keep, value)
        text = r"grid = \(1, 9\), must be one that the square of mask_ratio = 0.5 fits into"
        self.fails(INVALID, text, poslabel.block_mask_keep, (1, 9), 0.5)

    def test_random(self):
        for name, call in (
            ("philox: seed", lambda value: poslabel.philox(value, (0, 0, 0, 0))),
            (r"philox: counter\[1\]", lambda value: poslabel.philox(0, (0, value, 0, 0))),
            ("random_below: word", lambda value: poslabel.random_below(value, 1)),
            ("random_below: n", lambda value: poslabel.random_below(0, value)),
            ("random_unit: word", lambda value: poslabel.random_unit(value)),
        ):
            for value in (-1, 2**64, 1.5, "x", None, True):
                with self.assertRaisesRegex(INVALID, f"^{name} = .*, must be an integer in "):
                    call(value)
        for counter in ((0, 0, 0), 5, "", None):
            self.fails(INVALID, "counter = .*, must be four integers", poslabel.philox, 0, counter)

    def test_auxiliary_weight(self):
        right = dict(lambda_0=1.0, epoch=3.0, epochs=9.0, warmup=2.0, cut=0.5)
        for argument, rule in (
            ("lambda_0", "a number >= 0 and finite"),
            ("epoch", "a number >= 0 and finite"),
            ("epochs", "a number > 0 and finite"),
            ("warmup", r"a number in \[0, epochs\]"),
            ("cut", r"a number in \[0, 1\]"),
        ):
            for value in (-1, float("nan"), float("inf"), 10**400, "1", None, True):
                with self.assertRaisesRegex(INVALID, f"^auxiliary_weight: {argument} = .*, must be {rule}$"):
                    poslabel.auxiliary_weight(**{**right, argument: value})

    def test_assemble_tokens(self):
        function = poslabel.assemble_tokens
        tokens, ids = np.ones((2, 5, 3), np.float32), np.array([[0, 4], [1, 2]])
        x = np.ones((2, 2, 3), np.float32)
        self.fails(INVALID, "tokens", function, None, x=x)
        self.fails(INVALID, "x", function, tokens, x=None)
        self.fails(INVALID, "x", function, tokens, ids_keep=ids, x=x[:, :1])
        self.fails(INVALID, "x", function, tokens, ids_keep=ids, x=x.astype(np.float64))
        self.fails(INVALID, "tokens", function, tokens.astype(np.int32))
        self.fails(INVALID, "register_count", function, tokens, register_count=1)
        self.fails(INVALID, "tokens", function, tokens[0])
        self.fails(INVALID, "ids_keep", function, tokens, ids_keep=ids + 1, x=x)
        self.fails(INVALID, "ids_keep", function, tokens, ids_keep=ids.astype(float))
        self.fails(INVALID, "positions", function, tokens, ids_keep=ids, positions=ids - 2, x=x)
        self.fails(INVALID, "positions", function, tokens, ids_keep=ids, positions=ids, mask_pos=ids)
        self.fails(INVALID, "places", function, tokens, ids_keep=ids, places=np.zeros((2, 2), int), x=x)
        self.fails(INVALID, "places", function, tokens, ids_keep=ids, places=ids, x=x)
        self.fails(INVALID, "mask_pos", function, tokens, ids_keep=ids, mask_pos=ids[:1])
        self.fails(INVALID, "pos_embed", function, tokens, pos_embed=tokens[0, :4])
        self.fails(INVALID, "prefix_tokens", function, tokens, prefix_tokens=np.ones((1, 4), np.float32))
        self.fails(INVALID, "mask_token", function, tokens, mask_token=np.ones(4, np.float32))
        self.fails(INVALID, "x", function, tokens, x=tokens)
        self.fails(UNSUPPORTED, "tokens", function, tokens[..., ::-1])

    def test_assemble_tokens_backward(self):
        function = poslabel.assemble_tokens_backward
        grad_x, ids = np.ones((2, 3, 4), np.float32), np.array([[0, 4], [1, 2]])
        out = np.ones((2, 5, 4), np.float32)
        self.fails(INVALID, "grad_x", function, None, grad_tokens=out)
        self.fails(INVALID, "", function, grad_x, grad_tokens=None)
        self.fails(INVALID, "ids_keep", function, grad_x, ids_keep=ids, prefix_count=2, grad_tokens=out)
        self.fails(INVALID, "ids_keep", function, grad_x, ids_keep=ids + 1, prefix_count=1, grad_tokens=out)
        self.fails(INVALID, "prefix_count", function, grad_x, prefix_count=-1, grad_tokens=out)
        self.fails(INVALID, "tokens_per_image", function, grad_x, ids_keep=ids, tokens_per_image=-1, grad_tokens=out)
        self.fails(INVALID, "grad_tokens", function, grad_x, grad_tokens=grad_x)
        self.fails(INVALID, "grad_tokens", function, grad_x, grad_tokens=np.ones((2, 3, 5), np.float32))
        self.fails(
            INVALID, "grad_mask_token", function, grad_x, grad_tokens=None, grad_mask_token=np.ones(3, np.float32)
        )
        self.fails(INVALID, "places", function, grad_x[:, :2], places=ids, grad_tokens=True)

    def test_shapes_of_made_gradients(self):
        function, grad_x = poslabel.assemble_tokens_backward, np.ones((2, 4, 3), np.float32)
        names = ("grad_tokens", "grad_mask_token", "grad_prefix_tokens", "grad_pos_embed")
        shapes = dict(zip(names, ((2, 3, 3), (1, 1, 3), (1, 1, 3), (1, 4, 3))))
        result = function(grad_x, prefix_count=1, **shapes)
        plain = function(grad_x, prefix_count=1, **dict.fromkeys(names, True))
        for actual, expected, shape in zip(result, plain, shapes.values()):
            self.assertEqual(actual.shape, shape)
            self.same(actual, expected.reshape(shape))
        ids = np.array([[0, 4, 1], [1, 2, 3]])
        result = function(grad_x, prefix_count=1, ids_keep=ids, grad_tokens=(2, 5, 3), grad_pos_embed=(5, 3))
        self.assertEqual([None if value is None else value.shape for value in result], [(2, 5, 3), None, None, (5, 3)])
        self.same(result.grad_pos_embed, result.grad_tokens.sum(0))
        for name, shape, text in (
            ("grad_mask_token", (2, 3), r"grad_mask_token has shape \[2, 3\], must be \[3\]"),
            ("grad_pos_embed", (2, 4, 3), "grad_pos_embed has shape"),
            ("grad_tokens", (), "grad_tokens has shape"),
            ("grad_tokens", (2, -3, 3), r"grad_tokens\[1\] = -3, must be an integer in"),
            ("grad_prefix_tokens", (1, 3.0), r"grad_prefix_tokens\[1\] = 3.0, must be an integer in"),
        ):
            self.fails(INVALID, text, function, grad_x, prefix_count=1, **{name: shape})
        text = "grad_pos_embed of shape .* cannot be made"
        self.fails(poslabel.OutOfMemoryError, text, function, grad_x, prefix_count=1, grad_pos_embed=(2**40, 2**20))

    def test_attentive_weights(self):
        function = poslabel.attentive_weights
        tokens, cls, ids = np.ones((2, 5, 3), np.float32), np.ones(3, np.float32), np.array([[0, 4], [1, 2]])
        out = np.ones((2, 2), np.float32)
        self.fails(INVALID, "tokens", function, None, cls, weights=out)
        self.fails(INVALID, "cls", function, tokens, None)
        self.fails(INVALID, "", function, tokens, cls, weights=None)
        self.fails(INVALID, "cls", function, tokens, cls.astype(np.float64))
        self.fails(INVALID, "cls", function, tokens, np.ones((3, 3), np.float32))
        self.fails(INVALID, "ids_keep", function, tokens, cls, ids_keep=ids + 1, weights=out)
        self.fails(INVALID, "pos_embed", function, tokens, cls, pos_embed=tokens[0])
        self.fails(INVALID, "weights", function, tokens, cls, ids_keep=ids, weights=out.astype(np.float16))
        self.fails(INVALID, "attention", function, tokens, cls, ids_keep=ids, weights=out, attention=out)
        for temperature in (0, -1, float("nan"), float("inf")):
            self.fails(INVALID, "temperature", function, tokens, cls, temperature=temperature)
        self.fails(INVALID, "", function, tokens[:, :0], cls)

    def losses(self):
        """Both losses: the function, logits, positions and the other arguments."""
        logits, positions = np.ones((2, 3, 6), np.float32), np.array([[0, 1, 2], [3, 4, 5]])
        yield poslabel.droppos_loss, logits, positions, dict(grid=(2, 3))
        yield poslabel.position_cross_entropy, logits, positions, dict()

    def test_losses(self):
        for function, logits, positions, more in self.losses():
            loss, gradient = np.full((), 5, np.float32), np.full_like(logits, 7)
            given = dict(loss=loss, grad_logits=gradient, **more)
            rows = np.ones((2, 3))
            self.fails(INVALID, "logits", function, None, positions, **given)
            self.fails(INVALID, "logits", function, logits.astype(int), positions, **given)
            self.fails(INVALID, "loss", function, logits, positions, loss=False, **more)
            self.fails(INVALID, "loss", function, logits, positions, loss=np.zeros(2, np.float32), **more)
            self.fails(INVALID, "loss", function, logits, positions, loss=np.zeros((), np.float16), **more)
            self.fails(INVALID, "loss", function, logits, positions, reduction="none", **given)
            self.fails(INVALID, "reduction", function, logits, positions, reduction=3, **given)
            self.fails(
                INVALID,
                "reduction = 'avg', must be one of 'mean'",
                function,
                logits,
                positions,
                reduction="avg",
                **given,
            )
            self.fails(INVALID, "positions", function, logits, positions + 1, **given)
            self.fails(INVALID, "positions", function, logits, positions - 1, **given)
            self.fails(INVALID, "positions", function, logits, positions[:, :2], **given)
            self.fails(INVALID, "positions", function, logits, positions.astype(float), **given)
            self.fails(INVALID, "mask", function, logits, positions, mask=rows[0] > 0, **given)
            self.fails(INVALID, "mask", function, logits, positions, mask=rows.astype(np.int16), **given)
            self.fails(INVALID, "weights", function, logits, positions, weights=rows[:, :2], **given)
            self.fails(INVALID, "weights", function, logits, positions, weights=rows.astype(int), **given)
            for bad in (-1, np.nan):
                weights = rows.copy()
                weights[1, 2] = bad
                self.fails(INVALID, "weights", function, logits, positions, weights=weights, **given)
            for scale in (float("nan"), float("inf")):
                self.fails(INVALID, "grad_scale", function, logits, positions, grad_scale=scale, **given)
            self.fails(
                INVALID, "grad_scale = None, must be a number", function, logits, positions, grad_scale=None, **given
            )
            self.fails(INVALID, "grad_loss", function, logits, positions, grad_loss=rows, **given)
            self.fails(INVALID, "normalizer", function, logits, positions, normalizer=rows, **given)
            self.fails(INVALID, "accuracy", function, logits, positions, accuracy=np.zeros((), int), **given)
            self.fails(INVALID, "weight_sum", function, logits, positions, weight_sum=np.zeros(3), **given)
            self.fails(INVALID, "flags", function, logits, positions, flags=np.zeros((), np.int64), **given)
            shifted = np.zeros(37, np.float32)
            whole, late = shifted[:36].reshape(2, 3, 6), shifted[1:].reshape(2, 3, 6)
            self.fails(INVALID, "grad_logits", function, whole, positions, loss=loss, grad_logits=late, **more)
            self.fails(INVALID, "grad_logits", function, logits, positions, loss=loss, grad_logits=gradient[:1], **more)
            self.fails(
                INVALID,
                "grad_logits",
                function,
                logits,
                positions,
                loss=loss,
                grad_logits=gradient.astype(float),
                **more,
            )
            frozen = gradient.copy()
            frozen.flags.writeable = False
            self.fails(
                INVALID,
                "grad_logits is read-only, must be writable",
                function,
                logits,
                positions,
                loss=loss,
                grad_logits=frozen,
                **more,
            )
            self.fails(UNSUPPORTED, "logits", function, logits[..., ::-1], positions, **given)
            self.assertEqual(function(logits, positions, **given).loss, loss)

    def test_droppos_loss(self):
        function = poslabel.droppos_loss
        logits, positions = np.ones((2, 3, 6), np.float32), np.array([[0, 1, 2], [3, 4, 5]])
        for grid in ((0, 6), (-2, -3), (2, 4)):
            self.fails(INVALID, "", function, logits, positions, grid=grid)
        self.fails(INVALID, "positions", function, logits, None, grid=(2, 3))
        for sigma in (-1, float("nan"), float("inf")):
            self.fails(INVALID, "sigma", function, logits, positions, grid=(2, 3), sigma=sigma)
        self.fails(INVALID, "normalization", function, logits, positions, grid=(2, 3), normalization=2)
        self.fails(INVALID, "confidence_filter", function, logits, positions, grid=(2, 3), confidence_filter=2)

    def test_position_cross_entropy(self):
        function = poslabel.position_cross_entropy
        logits, positions = np.ones((2, 6, 6), np.float32), np.zeros((2, 6), int)
        self.fails(INVALID, "labels", function, logits, grid=(2, 3), labels=3)
        self.fails(INVALID, "labels = 'abs', must be one of 'absolute'", function, logits, grid=(2, 3), labels="abs")
        self.fails(INVALID, "grid", function, logits)
        self.fails(INVALID, "", function, logits, grid=(2, 4))
        self.fails(INVALID, "", function, logits[:, :5], grid=(2, 3))
        self.fails(INVALID, "", function, logits, grid=(2, 3), labels="relative")
        self.fails(INVALID, "positions", function, logits, positions, grid=(2, 3), labels="absolute")
        self.fails(INVALID, "positions", function, logits, labels="explicit")
        for smoothing in (-0.1, 1.1, float("nan")):
            self.fails(INVALID, "label_smoothing", function, logits, positions, label_smoothing=smoothing)

    def test_scale_gradient(self):
        function, gradient = poslabel.scale_gradient, np.ones((2, 3), np.float32)
        self.fails(TYPE, "grad = None, must be a tensor; .* serves one backward pass", function, None, 1.0)
        self.fails(INVALID, "scale = None, must be given", function, gradient, None)
        self.fails(INVALID, "scale", function, gradient, np.float16(1))
        self.fails(INVALID, "scale", function, gradient, np.ones(3))
        self.fails(INVALID, "grad", function, gradient.astype(int), 1.0)
        self.fails(INVALID, "scale", function, gradient, gradient[0, :1])
        self.assertTrue((gradient == 1).all())

    def test_sigma_schedule(self):
        function = poslabel.sigma_schedule
        for name, bad in (("sigma_0", (-1, 0, 1)), ("epoch", (1, -1, 1)), ("epochs", (1, 0, 0))):
            self.fails(INVALID, name, function, *bad)
            for value in (float("nan"), float("inf")):
                arguments = dict(sigma_0=1.0, epoch=0.0, epochs=1.0)
                arguments[name] = value
                self.fails(INVALID, name, function, **arguments)

    def test_no_arrays(self):
        rule = "must be an array: of NumPy, of PyTorch, or with a method __dlpack__$"
        for value in ([1, 2], "x", object(), {}):
            text = f"is a {type(value).__name__}, {rule}"
            self.fails(TYPE, f"logits {text}", poslabel.droppos_loss, value, np.zeros(3, int), grid=(1, 3))
            self.fails(
                TYPE, f"mask {text}", poslabel.droppos_loss, np.zeros((2, 3)), np.zeros(2, int), grid=(1, 3), mask=value
            )
        function, rows = poslabel.position_cross_entropy, np.zeros((2, 2))
        self.fails(TYPE, f"logits = None, {rule}", function, None, grid=(1, 2))
        self.fails(TYPE, f"logits = True, {rule}", function, True, grid=(1, 2))
        self.fails(TYPE, f"weights = True, {rule}", function, rows, grid=(1, 2), weights=True)
        self.fails(INVALID, "grad_loss = 1000.*, must be a number that", function, rows, grid=(1, 2), grad_loss=10**400)
        self.fails(TYPE, "loss = 1.0, must be True, False or an array", function, rows, grid=(1, 2), loss=1.0)
        self.fails(TYPE, "loss is a float32, must be True, False or", function, rows, grid=(1, 2), loss=np.float32(1))
        self.fails(TYPE, "loss is a list, must be True, False or", function, rows, grid=(1, 2), loss=[0.0])
        self.fails(TYPE, "ids_keep is a list, must be", poslabel.random_mask, 4, batch=1, step=0, ids_keep=[0])

    def test_grids(self):
        logits, rule = np.zeros((2, 4), np.float32), r"must be two integers, \(height, width\)$"
        for call in (
            lambda grid: poslabel.absolute_labels(grid),
            lambda grid: poslabel.relative_labels(grid),
            lambda grid: poslabel.smoothing_map(grid, 1),
            lambda grid: poslabel.regular_mask(grid, batch=1, step=0),
            lambda grid: poslabel.block_mask(grid, batch=1, step=0),
            lambda grid: poslabel.droppos_masks(grid, batch=1, step=0),
            lambda grid: poslabel.droppos_loss(logits, np.zeros(2, int), grid=grid),
            lambda grid: poslabel.position_cross_entropy(logits, grid=grid),
            lambda grid: poslabel.linear_position_loss(logits, logits, grid=grid),
            lambda grid: poslabel.regular_mask_keep(grid),
            lambda grid: poslabel.block_mask_keep(grid, 0.5),
        ):
            for grid in (14, (14,), (14, 14, 14), (14.0, 14), (14, "x"), "ab", [14, None], (True, 14), object()):
                with self.assertRaisesRegex(TYPE, f"^[a-z_]+: grid = .*, {rule}"):
                    call(grid)
        self.same(poslabel.absolute_labels([2, np.int64(3)]), np.arange(6))
        for function in (poslabel.absolute_labels, poslabel.relative_labels):
            for grid in ((2**40, 3), (3, -(2**31) - 1)):
                self.fails(INVALID, r"grid\.(height|width) = .*, must be an integer in", function, grid)
            for grid in ((65536, 65536), (-2, 3), (-2, -3), (0, 0)):
                self.fails(INVALID, "grid", function, grid)
        self.fails(INVALID, "grid", poslabel.droppos_masks, (65536, 65536), batch=1, step=0)
        self.fails(
            poslabel.OutOfMemoryError, "map of shape .* cannot be made: ", poslabel.smoothing_map, (30000, 30000), 1
        )

    def test_sizes(self):
        for value in (-1, 2**32, 2**70, 3.0, "x", True, (2,), [2]):
            kind = INVALID if type(value) is int else TYPE
            text = r"batch = .*, must be an integer in \[0, 2\^32\)$"
            self.fails(kind, text, poslabel.random_mask, 8, step=0, batch=value)
            self.fails(kind, text, poslabel.regular_mask, (2, 2), step=0, batch=value)
            self.fails(kind, text, poslabel.block_mask, (2, 2), step=0, batch=value)
            self.fails(kind, text, poslabel.droppos_masks, (2, 2), step=0, batch=value)
        for function in (poslabel.absolute_labels, poslabel.relative_labels):
            for value in (-1, 2**63, 3.0, "x", True, (2, -1), (2, 3.0), [2]):
                self.fails(INVALID, "batch = .*, must be an integer", function, (2, 2), batch=value)
            self.fails(poslabel.OutOfMemoryError, "labels of shape", function, (2, 2), batch=(2**40, 2**20))
        for value in ((14, 14), 3.0, "x", True, None):
            self.fails(TYPE, "tokens = .*, must be an integer in", poslabel.random_mask, value, batch=1, step=0)
            out = np.zeros((1, 1), int)
            given = dict(ids_keep=None, ids_restore=out, mask=None)
            self.fails(TYPE, "tokens = .*, must be an integer in", poslabel.random_mask, value, step=0, **given)
        for value in (2**31, 2**40, 2**64 + 5, 10**30, 10**5000):
            self.fails(INVALID, "tokens", poslabel.random_mask, value, batch=1, step=0)
        for name, value in (("seed", 2**64), ("seed", 1.5), ("seed", True), ("first_sample", False), ("seed", None)):
            self.fails(
                INVALID,
                f"{name} = .*, must be an integer in",
                poslabel.regular_mask,
                (2, 2),
                batch=1,
                step=0,
                **{name: value},
            )
        grad_x = np.ones((2, 3, 4), np.float32)
        for value in (True, 3.0, "x", 2**63):
            for name in ("tokens_per_image", "prefix_count"):
                text = f"{name} = .*, must be an integer in"
                self.fails(INVALID, text, poslabel.assemble_tokens_backward, grad_x, **{name: value})
                given = {"grad_tokens": np.ones_like(grad_x), name: value}
                self.fails(INVALID, text, poslabel.assemble_tokens_backward, grad_x, **given)
        logits = np.zeros((2, 4))
        for value in (True, 3.0, None, 2**63):
            text = "ignore_index = .*, must be an integer in"
            self.fails(INVALID, text, poslabel.position_cross_entropy, logits, np.zeros(2, int), ignore_index=value)

    def test_choices(self):
        logits, positions = np.zeros((2, 4)), np.zeros(2, int)
        for value in ("Mean", "", None, 1.0, True, ["mean"], object()):
            kind = INVALID if isinstance(value, str) else TYPE
            text = "reduction = .*, must be one of 'mean', 'sum', 'none'$"
            self.fails(kind, text, poslabel.position_cross_entropy, logits, positions, reduction=value)
        result = poslabel.position_cross_entropy(logits, positions, reduction=poslabel.Reduction.NONE)
        self.assertEqual(result.loss.shape, (2,))
        text = r"reduction = 1099511627776, must be an integer in \[-2\^31, 2\^31\)"
        self.fails(INVALID, text, poslabel.position_cross_entropy, logits, positions, reduction=2**40, loss=logits[0])
        for value in ("x", 1.5, None, [1]):
            text = "confidence_filter = .*, must be True or False$"
            self.fails(TYPE, text, poslabel.droppos_loss, logits, positions, grid=(2, 2), confidence_filter=value)
            text = "wrong_positions = .*, must be True or False$"
            self.fails(TYPE, text, poslabel.droppos_masks, (2, 2), batch=1, step=0, wrong_positions=value)
        poslabel.droppos_loss(logits, positions, grid=(2, 2), confidence_filter=np.True_)
        for dtype in ("complex", "number", object, "f8,,"):
            self.fails(
                INVALID,
                "labels has dtype|dtype = .*, must be a dtype of NumPy",
                poslabel.absolute_labels,
                (2, 2),
                dtype=dtype,
            )
        self.fails(
            INVALID, "mask_dtype = 'x', must be a dtype", poslabel.random_mask, 4, batch=1, step=0, mask_dtype="x"
        )
        for like in ("x", 3, [1], np.float32(1), unittest):
            text = "like = .*, must be an array, or the module numpy or torch$"
            self.fails(TYPE, text, poslabel.absolute_labels, (2, 2), like=like)
        for value in ("x", 3, True, object()):
            self.fails(
                TYPE,
                "context = .*, must be a poslabel.Context or None",
                poslabel.sigma_schedule,
                1,
                0,
                1,
                context=value,
            )

    def test_numbers(self):
        for value, kind in (("x", TYPE), (None, TYPE), ([1], TYPE), (10**400, INVALID)):
            self.fails(kind, "sigma_0 = .*, must be a number$", poslabel.sigma_schedule, value, 0, 1)
            self.fails(kind, "mask_ratio = .*, must be a number$", poslabel.random_mask, 4, value, batch=1, step=0)
            self.fails(kind, "mask_ratio = .*, must be a number$", poslabel.block_mask, (2, 2), value, batch=1, step=0)

    def test_dtypes_that_no_operation_takes(self):
        logits = np.zeros((2, 4), np.float32)
        for name in ("int8", "int16", "uint16", "uint32", "uint64", "complex64", "complex128"):
            positions = np.zeros(2, name)
            self.fails(
                INVALID,
                f"positions has dtype {name}, must be int32 or int64",
                poslabel.position_cross_entropy,
                logits,
                positions,
            )
        for array, text in (
            (
                logits.astype(logits.dtype.newbyteorder()),
                "logits has dtype .f4, must be in the byte order of this machine",
            ),
            (logits.astype(object), "logits has dtype object, must be one of float16, float32"),
            (logits.astype(str), "logits has dtype str.*, must be one of"),
            (logits.astype("M8[s]"), "logits has dtype datetime64.*, must be one of"),
            (np.zeros((2, 4), [("a", "f4")]), "logits has dtype void32, must be one of"),
        ):
            self.fails(INVALID, text, poslabel.position_cross_entropy, array, np.zeros(2, int))

    def test_masked_arrays(self):
        masked = np.ma.masked_array(np.zeros((2, 4)), mask=np.eye(2, 4))
        for arguments in ((masked, np.zeros(2, int)), (masked.data, np.ma.zeros(2, int))):
            self.fails(TYPE, "is a masked array, must be a plain one", poslabel.position_cross_entropy, *arguments)
        self.fails(
            TYPE,
            "grad_logits is a masked",
            poslabel.position_cross_entropy,
            masked.data,
            grid=(2, 2),
            grad_logits=masked,
        )

    def test_a_step_is_needed(self):
        rule = r"step = None, must be an integer in \[0, 2\^32\), for instance the iteration"
        noise, pos_noise = np.linspace(0, 1, 16).reshape(2, 8), np.linspace(0, 1, 8).reshape(2, 4)
        self.fails(TYPE, f"{rule}, or give noise$", poslabel.random_mask, 8, batch=2)
        self.fails(TYPE, f"{rule}$", poslabel.regular_mask, (2, 4), batch=2)
        self.fails(TYPE, f"{rule}$", poslabel.block_mask, (2, 4), batch=2)
        more = f"{rule}, or give patch_noise, pos_noise and shuffle_noise$"
        function, noises = poslabel.droppos_masks, dict(patch_noise=noise, pos_noise=pos_noise)
        for given in (
            dict(batch=2),
            dict(patch_noise=noise),
            dict(pos_noise=pos_noise),
            dict(**noises, places=True),
            dict(**noises, patch_mask="regular"),
        ):
            self.fails(TYPE, more, function, (2, 4), 0.5, **given)
        self.same(poslabel.random_mask(8, noise=noise).mask, poslabel.random_mask(8, noise=noise, step=5).mask)
        first = function((2, 4), 0.5, **noises)
        self.same(first.mask_pos, function((2, 4), 0.5, step=5, **noises).mask_pos)
        function((2, 4), 0.5, **noises, shuffle_noise=pos_noise, places=True)
        masks = [poslabel.random_mask(196, batch=4, step=step).mask for step in (0, 0, 1)]
        self.same(masks[0], masks[1])
        self.assertFalse((masks[0] == masks[2]).all())


if __name__ == "__main__":
    unittest.main()
