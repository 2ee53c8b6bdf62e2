# SPDX-License-Identifier: Apache-2.0
"""Positional pretext tasks for vision transformers: labels, masks, targets, losses and gradients.

A thin layer over the C library libposlabel. Functions take NumPy arrays, PyTorch tensors and whatever else speaks
DLPack, without copying, and carry the names of the C headers, which are the manual.

Outputs are keyword arguments: True makes one (PyTorch for PyTorch arguments, else NumPy), False leaves it out, and a
tensor is written in place. Errors are poslabel.Error. Calls that name no context use one of the calling thread.
"""

from ._declarations import (
    Activation,
    AxisLossKind,
    DeviceType,
    Isa,
    LabelKind,
    LogLevel,
    LossFlag,
    Normalization,
    PairKind,
    PatchMask,
    Reduction,
    RegressionKind,
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
from .mlp import MlpLossResult, PairLossResult, mlp_position_loss, pair_position_loss
from .pairs import cell_offsets, cell_pairs, pair_features, pair_features_backward
from .position import position_cross_entropy
from .random import philox, random_below, random_unit
from .regression import RegressionResult, regression_loss
from .schedule import auxiliary_weight
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
    "Activation",
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
    "MlpLossResult",
    "Normalization",
    "OutOfMemoryError",
    "PairKind",
    "PairLossResult",
    "PatchMask",
    "Reduction",
    "RegressionKind",
    "RegressionResult",
    "Status",
    "Stream",
    "Support",
    "UnsupportedError",
    "absolute_labels",
    "assemble_tokens",
    "assemble_tokens_backward",
    "attentive_weights",
    "auxiliary_weight",
    "axis_loss",
    "block_mask",
    "block_mask_keep",
    "cell_offsets",
    "cell_pairs",
    "decoder_tokens",
    "decoder_tokens_backward",
    "default_context",
    "device_supported",
    "droppos_loss",
    "droppos_masks",
    "isa_supported",
    "library_path",
    "linear_position_loss",
    "mlp_position_loss",
    "pair_features",
    "pair_features_backward",
    "pair_position_loss",
    "philox",
    "position_cross_entropy",
    "random_below",
    "random_mask",
    "random_mask_keep",
    "random_unit",
    "regression_loss",
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
