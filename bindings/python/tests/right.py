# SPDX-License-Identifier: Apache-2.0
"""Right calls, and the sizes and arrays that those of several families have."""

from typing import Any, Dict, NamedTuple, Tuple

import numpy as np
import poslabel


class Right(NamedTuple):
    """A right call: what is not the default in the args struct, and the sizes of its tensors by symbol."""

    numbers: Dict[str, Any]
    sizes: Dict[str, Any]
    without: Tuple[str, ...] = ()  # the tensors that it must not have
    shapes: Dict[str, int] = {}  # which of the shapes a tensor has, where that is not the first


GRID = {"grid.height": 3, "grid.width": 4}
LOSS = {"...": (2, 3), "N": 12, "C": 12, "D": 5, "n": 2}
TOKENS = {"B": 2, "N": 12, "V": 4, "P": 1, "D": 5, "E": 1}
ALL_TOKENS = {**TOKENS, "V": 12}
NONE = {"reduction": poslabel.Reduction.NONE}
EXPLICIT = {"labels": poslabel.LabelKind.EXPLICIT}
POSITION_LOSS = [
    Right(EXPLICIT, LOSS),
    Right({**EXPLICIT, **NONE}, LOSS, shapes={"loss": 1}),
    Right(GRID, {**LOSS, "...": (2, 12)}, without=("positions",)),
]

# Arguments of functions of Python.
SIDES, DRAWN = (2, 2), dict(batch=1, step=0)
LOGITS, POSITIONS, FEATURES = np.zeros((2, 4), np.float32), np.zeros(2, int), np.ones((2, 4, 3), np.float32)
