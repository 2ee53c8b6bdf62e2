# SPDX-License-Identifier: Apache-2.0
"""Which patches stay visible, and which of those lose their position (poslabel/masks.h)."""

from __future__ import annotations

import ctypes
from operator import index
from typing import Any, Iterator, NamedTuple, Optional, Tuple, Union

from ._call import Call, Operation, choices
from ._declarations import Grid, PatchMask
from ._library import bind
from .context import Context
from .framework import framework_like, framework_of
from .status import InvalidError

_PATCH_MASKS = choices(PatchMask)

_RANDOM = Operation("random_mask")
_REGULAR = Operation("regular_mask")
_BLOCK = Operation("block_mask")
_DROPPOS = Operation("droppos_masks")

_random_keep = bind("poslabel_random_mask_keep", ctypes.c_int64, ctypes.c_int64, ctypes.c_double)
_regular_keep = bind("poslabel_regular_mask_keep", ctypes.c_int64, Grid)
_block_keep = bind("poslabel_block_mask_keep", ctypes.c_int64, Grid, ctypes.c_double)


class Masks(NamedTuple):
    """Results of the masks; None for those not asked for."""

    ids_keep: Any
    ids_remove: Any
    ids_restore: Any
    mask: Any


class DropposMasks(NamedTuple):
    """Results of droppos_masks(); None for those not asked for."""

    ids_keep: Any
    ids_remove: Any
    ids_restore: Any
    mask: Any
    ids_keep_pos: Any
    ids_restore_pos: Any
    mask_pos: Any
    positions: Any
    places: Any


def _kept_random(tokens: int, mask_ratio: float) -> int:
    try:
        return _random_keep(index(tokens), float(mask_ratio))
    except (TypeError, ValueError, ctypes.ArgumentError):
        return -1


def _kept_regular(grid: Tuple[int, int]) -> int:
    try:
        return _regular_keep(Grid(*map(index, grid)))
    except TypeError:
        return -1


def _kept_block(grid: Tuple[int, int], mask_ratio: float) -> int:
    try:
        return _block_keep(Grid(*map(index, grid)), float(mask_ratio))
    except (TypeError, ValueError):
        return -1


def _known(keep: int, what: str) -> int:
    if keep < 0:
        raise InvalidError(f"{what}: no mask has these sizes and this ratio")
    return keep


def random_mask_keep(tokens: int, mask_ratio: float) -> int:
    """K = int(tokens * (1 - mask_ratio)), how many tokens random_mask() keeps."""
    return _known(_kept_random(tokens, mask_ratio), f"random_mask_keep({tokens!r}, {mask_ratio!r})")


def regular_mask_keep(grid: Tuple[int, int]) -> int:
    """ceil(h / 2) * ceil(w / 2), how many patches regular_mask() keeps."""
    return _known(_kept_regular(grid), f"regular_mask_keep({grid!r})")


def block_mask_keep(grid: Tuple[int, int], mask_ratio: float) -> int:
    """s * s with s = int(sqrt(N - int(mask_ratio * N))), how many patches block_mask() keeps."""
    return _known(_kept_block(grid, mask_ratio), f"block_mask_keep({grid!r}, {mask_ratio!r})")


def _settle(outputs: Tuple[Any, ...]) -> Optional[Tuple[Any, ...]]:
    """`outputs` with None for False; None where one has to be made."""
    given = True
    for output in outputs:
        if output is True:
            return None
        if output is False:
            given = False
    return outputs if given else tuple([None if output is False else output for output in outputs])


def _made(
    call: Call,
    batch: Optional[int],
    like: Any,
    tensors: Tuple[Any, ...],
    outputs: Tuple[Any, ...],
    sizes: Tuple[int, ...],
    dtypes: Tuple[Any, ...],
) -> Iterator[Any]:
    """`outputs` with fresh memory for True and None for False; what was given says where and for how many images."""
    name = call.operation.name
    given = next((tensor for tensor in tensors + outputs if tensor is not None and not isinstance(tensor, bool)), None)
    like = given if like is None else like
    framework = framework_like(f"{name}: like", like)
    for output, size, dtype in zip(outputs, sizes, dtypes):
        if output is True:
            if batch is None and given is None:
                raise InvalidError(f"{name}: batch = None, must be given where no noise and no output is")
            if batch is None:
                batch = (*framework_of(name, given).shape(given), 0)[0]
            # A size that makes no sense is for the library to report.
            yield framework.empty(like, (batch, max(size, 0)), dtype)
        else:
            yield None if output is False else output


def random_mask(
    tokens: int,
    mask_ratio: float = 0.75,
    *,
    batch: Optional[int] = None,
    noise: Any = None,
    seed: int = 0,
    first_sample: int = 0,
    step: int = 0,
    ids_keep: Any = True,
    ids_remove: Any = False,
    ids_restore: Any = True,
    mask: Any = True,
    dtype: Any = "int64",
    mask_dtype: Any = "bool",
    like: Any = None,
    context: Optional[Context] = None,
) -> Masks:
    """Random masks (MAE, DropPos): K = random_mask_keep(tokens, mask_ratio) of `tokens` stay visible.

    noise         [B, tokens], any float: the tokens with the least noise stay. None: drawn from seed, first_sample and
                  step, which alone decide the result; so pass a new step for every batch.
    batch         B, where neither noise nor an output gives it.
    first_sample  the index of the first image in the whole batch, when that is split over ranks.
    ids_keep [B, K], ids_remove [B, tokens - K], ids_restore [B, tokens], mask [B, tokens] (1 = removed)
                  out: True makes one, False leaves it out, a tensor is written to.
    dtype, mask_dtype, like   of the outputs that are made: int32 or int64; bool, uint8, int32, int64 or any float; a
                  tensor whose framework they have, or the module torch (None: that of the tensors given).
    """
    call = Call(_RANDOM)
    source = call.read("noise", noise)
    wanted = (ids_keep, ids_remove, ids_restore, mask)
    outputs = _settle(wanted)
    if outputs is None:
        count, keep = tokens, _kept_random(tokens, mask_ratio)
        sizes, dtypes = (keep, count - keep, count, count), (dtype, dtype, dtype, mask_dtype)
        outputs = tuple(_made(call, batch, like, (noise,), wanted, sizes, dtypes))
    result = Masks._make(outputs)
    write = call.write
    call.run(
        context,
        tokens,
        mask_ratio,
        source,
        seed,
        first_sample,
        step,
        write("ids_keep", result.ids_keep),
        write("ids_remove", result.ids_remove),
        write("ids_restore", result.ids_restore),
        write("mask", result.mask),
    )
    return result


def regular_mask(
    grid: Tuple[int, int],
    *,
    batch: Optional[int] = None,
    seed: int = 0,
    first_sample: int = 0,
    step: int = 0,
    ids_keep: Any = True,
    ids_remove: Any = False,
    ids_restore: Any = True,
    mask: Any = True,
    dtype: Any = "int64",
    mask_dtype: Any = "bool",
    like: Any = None,
    context: Optional[Context] = None,
) -> Masks:
    """Regular masks: in each cell of 2 x 2 patches of the grid (h, w) one stays visible. The rest as random_mask()."""
    call = Call(_REGULAR)
    height, width = grid
    wanted = (ids_keep, ids_remove, ids_restore, mask)
    outputs = _settle(wanted)
    if outputs is None:
        count, keep = height * width, _kept_regular(grid)
        sizes, dtypes = (keep, count - keep, count, count), (dtype, dtype, dtype, mask_dtype)
        outputs = tuple(_made(call, batch, like, (), wanted, sizes, dtypes))
    result = Masks._make(outputs)
    write = call.write
    call.run(
        context,
        height,
        width,
        seed,
        first_sample,
        step,
        write("ids_keep", result.ids_keep),
        write("ids_remove", result.ids_remove),
        write("ids_restore", result.ids_restore),
        write("mask", result.mask),
    )
    return result


def block_mask(
    grid: Tuple[int, int],
    mask_ratio: float = 0.75,
    *,
    batch: Optional[int] = None,
    seed: int = 0,
    first_sample: int = 0,
    step: int = 0,
    ids_keep: Any = True,
    ids_remove: Any = False,
    ids_restore: Any = True,
    mask: Any = True,
    dtype: Any = "int64",
    mask_dtype: Any = "bool",
    like: Any = None,
    context: Optional[Context] = None,
) -> Masks:
    """Block masks: one square of patches of the grid (h, w) stays visible. The rest as random_mask()."""
    call = Call(_BLOCK)
    height, width = grid
    wanted = (ids_keep, ids_remove, ids_restore, mask)
    outputs = _settle(wanted)
    if outputs is None:
        count, keep = height * width, _kept_block(grid, mask_ratio)
        sizes, dtypes = (keep, count - keep, count, count), (dtype, dtype, dtype, mask_dtype)
        outputs = tuple(_made(call, batch, like, (), wanted, sizes, dtypes))
    result = Masks._make(outputs)
    write = call.write
    call.run(
        context,
        height,
        width,
        mask_ratio,
        seed,
        first_sample,
        step,
        write("ids_keep", result.ids_keep),
        write("ids_remove", result.ids_remove),
        write("ids_restore", result.ids_restore),
        write("mask", result.mask),
    )
    return result


def droppos_masks(
    grid: Tuple[int, int],
    mask_ratio: float = 0.75,
    pos_mask_ratio: float = 0.75,
    *,
    batch: Optional[int] = None,
    patch_mask: Union[str, int] = "random",
    wrong_positions: bool = False,
    patch_noise: Any = None,
    pos_noise: Any = None,
    shuffle_noise: Any = None,
    seed: int = 0,
    first_sample: int = 0,
    step: int = 0,
    ids_keep: Any = True,
    ids_remove: Any = False,
    ids_restore: Any = True,
    mask: Any = True,
    ids_keep_pos: Any = False,
    ids_restore_pos: Any = False,
    mask_pos: Any = True,
    positions: Any = True,
    places: Any = False,
    dtype: Any = "int64",
    mask_dtype: Any = "bool",
    like: Any = None,
    context: Optional[Context] = None,
) -> DropposMasks:
    """Both masks of DropPos: V of the N = h * w patches stay visible, and K_pos of those keep their position.

    patch_mask       "random", "regular" or "block": which function above gives the first four outputs.
    wrong_positions  give tokens that lost their position that of another one, instead of -1 (the mask token).
    patch_noise [B, N], pos_noise [B, V], shuffle_noise [B, V]   as noise of random_mask().
    ids_keep_pos [B, K_pos], ids_restore_pos [B, V], mask_pos [B, V] (1 = position lost), positions [B, V] (whose
    embedding each visible token gets, for assemble_tokens()), places [B, V] (where it is stored)
                     out: True makes one, False leaves it out, a tensor is written to. The rest as random_mask().
    """
    call = Call(_DROPPOS)
    height, width = grid
    kind = call.choice("patch_mask", _PATCH_MASKS, patch_mask)
    patch_source = 0 if patch_noise is None else call.read("patch_noise", patch_noise)
    pos_source = 0 if pos_noise is None else call.read("pos_noise", pos_noise)
    shuffle_source = 0 if shuffle_noise is None else call.read("shuffle_noise", shuffle_noise)
    wanted = (ids_keep, ids_remove, ids_restore, mask, ids_keep_pos, ids_restore_pos, mask_pos, positions, places)
    outputs = _settle(wanted)
    if outputs is None:
        count = height * width
        if kind == PatchMask.REGULAR:
            keep = _kept_regular(grid)
        elif kind == PatchMask.BLOCK:
            keep = _kept_block(grid, mask_ratio)
        else:
            keep = _kept_random(count, mask_ratio)
        sizes = (keep, count - keep, count, count, _kept_random(keep, pos_mask_ratio), keep, keep, keep, keep)
        dtypes = (dtype, dtype, dtype, mask_dtype, dtype, dtype, mask_dtype, dtype, dtype)
        noises = (patch_noise, pos_noise, shuffle_noise)
        outputs = tuple(_made(call, batch, like, noises, wanted, sizes, dtypes))
    result = DropposMasks._make(outputs)
    write = call.write
    call.run(
        context,
        height,
        width,
        kind,
        int(wrong_positions),
        mask_ratio,
        pos_mask_ratio,
        patch_source,
        pos_source,
        shuffle_source,
        seed,
        first_sample,
        step,
        write("ids_keep", result.ids_keep),
        write("ids_remove", result.ids_remove),
        write("ids_restore", result.ids_restore),
        write("mask", result.mask),
        write("ids_keep_pos", result.ids_keep_pos),
        write("ids_restore_pos", result.ids_restore_pos),
        write("mask_pos", result.mask_pos),
        write("positions", result.positions),
        write("places", result.places),
    )
    return result
