# SPDX-License-Identifier: Apache-2.0
"""Positional pretext tasks for vision transformers: labels, masks, targets, losses and gradients.

A thin layer over the C library libposlabel. Functions take NumPy arrays, PyTorch tensors and whatever else speaks
DLPack, without copying, and carry the names of the C headers, which are the manual.

Outputs are keyword arguments: True makes one (PyTorch for PyTorch arguments, else NumPy), False leaves it out, and a
tensor is written in place. Errors are poslabel.Error. Calls that name no context use one of the calling thread.
"""

from ._declarations import (
    AxisLossKind,
    DeviceType,
    Isa,
    LabelKind,
    LogLevel,
    LossFlag,
    Normalization,
    PatchMask,
    Reduction,
    Status,
    Stream,
)
from .attention import AttentiveWeights, attentive_weights
from .axis import AxisLossResult, axis_loss
from .context import Context, Support, default_context, device_supported, isa_supported
from .decoder import DecoderTokensGradients, decoder_tokens, decoder_tokens_backward
from .droppos import droppos_loss, sigma_schedule
from .labels import absolute_labels, relative_labels, smoothing_map
from .linear import LinearLossResult, linear_position_loss
from .loss import LossResult, scale_gradient
from .masks import (
    DropposMasks,
    Masks,
    block_mask,
    block_mask_keep,
    droppos_masks,
    random_mask,
    random_mask_keep,
    regular_mask,
    regular_mask_keep,
)
from .position import position_cross_entropy
from .random import philox, random_below, random_unit
from .status import (
    DeviceError,
    Error,
    InternalError,
    InvalidError,
    InvalidTypeError,
    OutOfMemoryError,
    UnsupportedError,
    status_name,
)
from .tokens import AssembleTokensGradients, assemble_tokens, assemble_tokens_backward
from .version import library_path, version, version_string

__version__ = "0.1.0"

__all__ = [
    "AssembleTokensGradients",
    "AttentiveWeights",
    "AxisLossKind",
    "AxisLossResult",
    "Context",
    "DecoderTokensGradients",
    "DeviceError",
    "DeviceType",
    "DropposMasks",
    "Error",
    "InternalError",
    "InvalidError",
    "InvalidTypeError",
    "Isa",
    "LabelKind",
    "LinearLossResult",
    "LogLevel",
    "LossFlag",
    "LossResult",
    "Masks",
    "Normalization",
    "OutOfMemoryError",
    "PatchMask",
    "Reduction",
    "Status",
    "Stream",
    "Support",
    "UnsupportedError",
    "absolute_labels",
    "assemble_tokens",
    "assemble_tokens_backward",
    "attentive_weights",
    "axis_loss",
    "block_mask",
    "block_mask_keep",
    "decoder_tokens",
    "decoder_tokens_backward",
    "default_context",
    "device_supported",
    "droppos_loss",
    "droppos_masks",
    "isa_supported",
    "library_path",
    "linear_position_loss",
    "philox",
    "position_cross_entropy",
    "random_below",
    "random_mask",
    "random_mask_keep",
    "random_unit",
    "regular_mask",
    "regular_mask_keep",
    "relative_labels",
    "scale_gradient",
    "sigma_schedule",
    "smoothing_map",
    "status_name",
    "version",
    "version_string",
]
