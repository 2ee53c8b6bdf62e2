# SPDX-License-Identifier: Apache-2.0
"""Attentive weights."""

import poslabel
import reference
from differential import ARITHMETIC, FLOATS, DifferentialCase
from right import ALL_TOKENS, FEATURES, TOKENS, Right

DECLARED = {
    "attentive_weights": [Right({}, TOKENS), Right({}, ALL_TOKENS)],
}

ARGUMENTS = {
    "attentive_weights": dict(tokens=FEATURES, cls=FEATURES[0, 0]),
}


class Differential(DifferentialCase):
    def case_attentive_weights(self, draw):
        batch, tokens, channels = draw.size(0, 6), draw.size(1, 60), draw.size(1, 200)
        dtype, temperature = draw.one_of(FLOATS), draw.one_of((0.05, 0.1, 1.0))
        source = draw.numbers((batch, tokens, channels), dtype, draw.one_of((1e-2, 1, 30)))
        cls = draw.numbers((batch, channels) if draw.maybe() else (channels,), dtype)
        pos = draw.numbers((tokens + 1, channels), dtype) if draw.maybe() else None
        ids = draw.orders(batch, tokens, int(draw.rng.integers(1, tokens + 1))) if draw.maybe() else None
        result = poslabel.attentive_weights(
            self.columns(draw, source),
            draw.lay(cls),
            pos_embed=None if pos is None else draw.lay(pos),
            ids_keep=None if ids is None else draw.lay(ids),
            temperature=temperature,
            attention=True,
            context=draw.context(),
        )
        expected = reference.attentive_weights(source, cls, pos, ids, temperature)
        real = "float64" if dtype == "float64" else "float32"
        for actual, value in zip((result.attention, result.weights), expected):
            self.within(actual, value, ARITHMETIC[dtype] * value.max(initial=0), real)
