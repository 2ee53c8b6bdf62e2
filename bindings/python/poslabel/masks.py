# SPDX-License-Identifier: Apache-2.0
"""Which patches stay visible, and which of those lose their position (poslabel/masks.h)."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple, Optional, Tuple, Union

from ._call import Call, Operation, choices
from ._declarations import Grid, PatchMask
from ._library import bind
from ._values import flag, integer, pair, patches, ratio, wrong
from .context import Context
from .framework import framework_like, framework_of, make

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
        return _random_keep(tokens, float(mask_ratio))
    except Exception:  # run() reports the value
        return -1


def _kept_block(height: int, width: int, mask_ratio: float) -> int:
    try:
        return _block_keep(Grid(height, width), float(mask_ratio))
    except Exception:  # run() reports the value
        return -1


def _grid(operation: str, grid: Tuple[int, int]) -> Grid:
    """A grid that has patches."""
    height, width = pair(operation, grid)
    if not patches(operation, height, width):
        raise wrong(operation, "grid", grid, "two integers >= 1, (height, width), with a product below 2^31")
    return Grid(height, width)


def random_mask_keep(tokens: int, mask_ratio: float) -> int:
    """K = int(tokens * (1 - mask_ratio)), how many tokens random_mask() keeps."""
    count = integer("random_mask_keep", "tokens", tokens, 0, 1 << 63)
    return _random_keep(count, ratio("random_mask_keep", "mask_ratio", mask_ratio))


def regular_mask_keep(grid: Tuple[int, int]) -> int:
    """ceil(h / 2) * ceil(w / 2), how many patches regular_mask() keeps."""
    return _regular_keep(_grid("regular_mask_keep", grid))


def block_mask_keep(grid: Tuple[int, int], mask_ratio: float) -> int:
    """s * s with s = int(sqrt(N - int(mask_ratio * N))), how many patches block_mask() keeps."""
    keep = _block_keep(_grid("block_mask_keep", grid), ratio("block_mask_keep", "mask_ratio", mask_ratio))
    if keep < 0:
        raise wrong("block_mask_keep", "grid", grid, f"one that the square of mask_ratio = {mask_ratio} fits into")
    return keep


def _no_step(operation: str, drawn: bool, noise: str = "") -> int:
    """In place of a step that was not given; an error if anything is drawn, since each call would draw the same."""
    if drawn:
        raise wrong(operation, "step", None, f"an integer in [0, 2^32), for instance the iteration{noise}", types=True)
    return 0


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
    kind: Any,
    batch: Optional[int],
    like: Any,
    inputs: Tuple[Tuple[str, Any], ...],
    outputs: Tuple[Any, ...],
    sizes: Tuple[int, ...],
    dtypes: Tuple[Any, ...],
) -> Any:
    """The result `kind`: `outputs` with fresh memory for True and None for False. The tensors that were given say
    where, and for how many images."""
    operation = call.operation.name
    if like is None or batch is None:
        for argument, given in (*inputs, *zip(kind._fields, outputs)):
            if given is not None and not isinstance(given, bool):
                what = f"{operation}: {argument}"
                if batch is None:
                    batch = (*framework_of(what, given).shape(given, what), 0)[0]
                if like is None:
                    framework_of(what, given)  # an error here names the argument, below it names `like`
                    like = given
                break
        else:
            if batch is None:
                rule = "an integer in [0, 2^32) where neither noise nor an output is given"
                raise wrong(operation, "batch", None, rule, types=True)
    framework = framework_like(operation, like)
    batch = integer(operation, "batch", batch, 0, 1 << 32)
    result = []
    for name, output, size, dtype in zip(kind._fields, outputs, sizes, dtypes):
        if output is True:
            argument = "mask_dtype" if name in ("mask", "mask_pos") else "dtype"
            # A size that makes no sense is for the library to report.
            shape = (batch, max(size, 0))
            result.append(make(framework, operation, name, like, shape, dtype, argument))
        else:
            result.append(None if output is False else output)
    return kind._make(result)


def random_mask(
    tokens: int,
    mask_ratio: float = 0.75,
    *,
    batch: Optional[int] = None,
    noise: Any = None,
    seed: int = 0,
    first_sample: int = 0,
    samples: Any = None,
    step: Any = None,
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

    step          a new number for every batch, the iteration say, or an int32 or int64 scalar on the device of the
                  call. It must be given, unless noise is: seed, the index of an image and step alone decide what is
                  drawn, so that each call without a new step would give the same masks.
    noise         [B, tokens], any float: the tokens with the least noise stay. None: drawn.
    batch         B, where neither noise nor an output gives it.
    first_sample  the index of the first image in the whole batch, when that is split over ranks.
    samples       [B], int32 or int64, in [0, 2^56): the index of each image in place of first_sample + b. With the
                  indices of a sampler each image gets the same masks whatever the number of ranks.
    ids_keep [B, K], ids_remove [B, tokens - K], ids_restore [B, tokens], mask [B, tokens] (1 = removed)
                  out: True makes one, False leaves it out, a tensor is written to.
    dtype, mask_dtype, like   of the outputs that are made: int32 or int64; bool, uint8, int32, int64 or any float; a
                  tensor whose framework they have, or the module torch (None: that of the tensors given).
    """
    call = Call(_RANDOM)
    source = call.read("noise", noise)
    wanted = (ids_keep, ids_remove, ids_restore, mask)
    if step is None:
        step = _no_step("random_mask", noise is None, ", or give noise")
    outputs = _settle(wanted)
    if outputs is None:
        count = integer("random_mask", "tokens", tokens, -(1 << 63), 1 << 63)
        count = count if 0 < count < 1 << 31 else 0
        keep = _kept_random(count, mask_ratio)
        sizes, dtypes = (keep, count - keep, count, count), (dtype, dtype, dtype, mask_dtype)
        result = _made(call, Masks, batch, like, (("noise", noise), ("samples", samples)), wanted, sizes, dtypes)
    else:
        result = Masks._make(outputs)
    number, scalar = call.scalar("step", step)
    write = call.write
    call.run(
        context,
        tokens,
        mask_ratio,
        source,
        seed,
        first_sample,
        number,
        write("ids_keep", result.ids_keep),
        write("ids_remove", result.ids_remove),
        write("ids_restore", result.ids_restore),
        write("mask", result.mask),
        call.read("samples", samples),
        scalar,
    )
    return result


def regular_mask(
    grid: Tuple[int, int],
    *,
    batch: Optional[int] = None,
    seed: int = 0,
    first_sample: int = 0,
    samples: Any = None,
    step: Any = None,
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
    height, width = pair("regular_mask", grid)
    if step is None:
        step = _no_step("regular_mask", True)
    wanted = (ids_keep, ids_remove, ids_restore, mask)
    outputs = _settle(wanted)
    if outputs is None:
        count = patches("regular_mask", height, width)
        keep = _regular_keep(Grid(height, width)) if count else 0
        sizes, dtypes = (keep, count - keep, count, count), (dtype, dtype, dtype, mask_dtype)
        result = _made(call, Masks, batch, like, (("samples", samples),), wanted, sizes, dtypes)
    else:
        result = Masks._make(outputs)
    number, scalar = call.scalar("step", step)
    write = call.write
    call.run(
        context,
        height,
        width,
        seed,
        first_sample,
        number,
        write("ids_keep", result.ids_keep),
        write("ids_remove", result.ids_remove),
        write("ids_restore", result.ids_restore),
        write("mask", result.mask),
        call.read("samples", samples),
        scalar,
    )
    return result


def block_mask(
    grid: Tuple[int, int],
    mask_ratio: float = 0.75,
    *,
    batch: Optional[int] = None,
    seed: int = 0,
    first_sample: int = 0,
    samples: Any = None,
    step: Any = None,
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
    height, width = pair("block_mask", grid)
    if step is None:
        step = _no_step("block_mask", True)
    wanted = (ids_keep, ids_remove, ids_restore, mask)
    outputs = _settle(wanted)
    if outputs is None:
        count = patches("block_mask", height, width)
        keep = _kept_block(height, width, mask_ratio) if count else 0
        sizes, dtypes = (keep, count - keep, count, count), (dtype, dtype, dtype, mask_dtype)
        result = _made(call, Masks, batch, like, (("samples", samples),), wanted, sizes, dtypes)
    else:
        result = Masks._make(outputs)
    number, scalar = call.scalar("step", step)
    write = call.write
    call.run(
        context,
        height,
        width,
        mask_ratio,
        seed,
        first_sample,
        number,
        write("ids_keep", result.ids_keep),
        write("ids_remove", result.ids_remove),
        write("ids_restore", result.ids_restore),
        write("mask", result.mask),
        call.read("samples", samples),
        scalar,
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
    samples: Any = None,
    step: Any = None,
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
    patch_noise [B, N], pos_noise [B, V], shuffle_noise [B, V]   as noise of random_mask(). Where all that are used are
                     given, no step is needed.
    ids_keep_pos [B, K_pos], ids_restore_pos [B, V], mask_pos [B, V] (1 = position lost), positions [B, V] (whose
    embedding each visible token gets, for assemble_tokens()), places [B, V] (where it is stored)
                     out: True makes one, False leaves it out, a tensor is written to. The rest as random_mask().
    """
    call = Call(_DROPPOS)
    height, width = pair("droppos_masks", grid)
    kind = call.choice("patch_mask", _PATCH_MASKS, patch_mask)
    patch_source = 0 if patch_noise is None else call.read("patch_noise", patch_noise)
    pos_source = 0 if pos_noise is None else call.read("pos_noise", pos_noise)
    shuffle_source = 0 if shuffle_noise is None else call.read("shuffle_noise", shuffle_noise)
    if step is None:
        drawn = kind != PatchMask.RANDOM or patch_noise is None or pos_noise is None
        drawn = drawn or (shuffle_noise is None and places is not False and places is not None)
        step = _no_step("droppos_masks", drawn, ", or give patch_noise, pos_noise and shuffle_noise")
    wanted = (ids_keep, ids_remove, ids_restore, mask, ids_keep_pos, ids_restore_pos, mask_pos, positions, places)
    outputs = _settle(wanted)
    if outputs is None:
        count = patches("droppos_masks", height, width)
        if not count:
            keep = 0
        elif kind == PatchMask.REGULAR:
            keep = _regular_keep(Grid(height, width))
        elif kind == PatchMask.BLOCK:
            keep = _kept_block(height, width, mask_ratio)
        else:
            keep = _kept_random(count, mask_ratio)
        sizes = (keep, count - keep, count, count, _kept_random(keep, pos_mask_ratio), keep, keep, keep, keep)
        dtypes = (dtype, dtype, dtype, mask_dtype, dtype, dtype, mask_dtype, dtype, dtype)
        inputs = (
            ("patch_noise", patch_noise),
            ("pos_noise", pos_noise),
            ("shuffle_noise", shuffle_noise),
            ("samples", samples),
        )
        result = _made(call, DropposMasks, batch, like, inputs, wanted, sizes, dtypes)
    else:
        result = DropposMasks._make(outputs)
    number, scalar = call.scalar("step", step)
    write = call.write
    call.run(
        context,
        height,
        width,
        kind,
        flag("droppos_masks", "wrong_positions", wrong_positions),
        mask_ratio,
        pos_mask_ratio,
        patch_source,
        pos_source,
        shuffle_source,
        seed,
        first_sample,
        number,
        write("ids_keep", result.ids_keep),
        write("ids_remove", result.ids_remove),
        write("ids_restore", result.ids_restore),
        write("mask", result.mask),
        write("ids_keep_pos", result.ids_keep_pos),
        write("ids_restore_pos", result.ids_restore_pos),
        write("mask_pos", result.mask_pos),
        write("positions", result.positions),
        write("places", result.places),
        call.read("samples", samples),
        scalar,
    )
    return result
