# SPDX-License-Identifier: Apache-2.0
# Written by bindings/generate.py from include/poslabel/*.h. Do not edit it.
"""The enums and structs of the headers."""

from __future__ import annotations

import ctypes
import enum
from typing import Dict, Tuple, Type

POINTER = ctypes.c_void_p

# The code and the bits of each dtype.
DTYPES: Dict[str, Tuple[int, int]] = {
    "float16": (2, 16),
    "float32": (2, 32),
    "float64": (2, 64),
    "bfloat16": (4, 16),
    "int32": (0, 32),
    "int64": (0, 64),
    "uint8": (1, 8),
    "bool": (6, 8),
}


class AxisLossKind(enum.IntEnum):
    """poslabel_axis_loss_kind: What each axis is held to."""

    CROSS_ENTROPY = 0
    CYCLE_BACK = 1


class Isa(enum.IntEnum):
    """poslabel_isa: Instruction sets of the CPU backend. Every level computes the same function. Labels, masks and
    random draws have the same bits at every level; losses and gradients agree within the precision that each
    operation states.
    """

    AUTO = 0
    REFERENCE = 10
    BASELINE = 20
    AVX2 = 30
    AVX512 = 40


class LogLevel(enum.IntEnum):
    """poslabel_log_level: The severity of a log line."""

    ERROR = 10
    INFO = 30


class Normalization(enum.IntEnum):
    """poslabel_normalization: How Gaussian position targets g_ij = exp(-((y_i - y_j)^2 + (x_i - x_j)^2) / sigma^2)
    are normalised to t_ij.
    """

    ROW = 0
    REFERENCE = 1


class Reduction(enum.IntEnum):
    """poslabel_reduction: How the losses of rows become the loss."""

    MEAN = 0
    SUM = 1
    NONE = 2


class LossFlag(enum.IntFlag):
    """poslabel_loss_flag: What a loss says about its rows in `flags`."""

    EMPTY = 1
    INVALID = 2


class PatchMask(enum.IntEnum):
    """poslabel_patch_mask: The operation above that chooses the visible patches of poslabel_droppos_masks()."""

    RANDOM = 0
    REGULAR = 1
    BLOCK = 2


class Activation(enum.IntEnum):
    """poslabel_activation: The function between the hidden layer and the next."""

    GELU = 0
    GELU_TANH = 1
    RELU = 2


class PairKind(enum.IntEnum):
    """poslabel_pair_kind: Which pairs are drawn."""

    RANDOM = 0
    ALL = 1


class LabelKind(enum.IntEnum):
    """poslabel_label_kind: The source of the label of a row."""

    ABSOLUTE = 0
    RELATIVE = 1
    EXPLICIT = 2


class Stream(enum.IntEnum):
    """poslabel_stream: Which random numbers an operation draws."""

    PATCH_MASK = 1
    POSITION_MASK = 2
    SHUFFLE = 3
    REGULAR_MASK = 4
    BLOCK_MASK = 5
    CELL_PAIRS = 6


class RegressionKind(enum.IntEnum):
    """poslabel_regression_kind: How far a prediction is from its target: |d|, Huber's mixture of both, or d^2."""

    L1 = 0
    SMOOTH_L1 = 1
    MSE = 2


class Status(enum.IntEnum):
    """poslabel_status: Every operation returns one of these. The numbers never change. New ones may appear in the
    gaps, so treat any value other than POSLABEL_OK as a failure.
    """

    OK = 0
    INVALID = 100
    UNSUPPORTED = 200
    MEMORY = 300
    DEVICE = 400
    INTERNAL = 500


class DeviceType(enum.IntEnum):
    """poslabel_device_type: DLPack's DLDeviceType. Any other number is POSLABEL_ERROR_INVALID."""

    CPU = 1
    CUDA = 2


class DTypeCode(enum.IntEnum):
    """poslabel_dtype_code: DLPack's DLDataTypeCode."""

    INT = 0
    UINT = 1
    FLOAT = 2
    BFLOAT = 4
    BOOL = 6


LogCallback = ctypes.CFUNCTYPE(None, POINTER, ctypes.c_int, ctypes.c_char_p)


class Allocator(ctypes.Structure):
    """poslabel_allocator."""

    _fields_ = [
        ("user", POINTER),
        ("allocate", POINTER),
        ("release", POINTER),
    ]


class DeviceAllocator(ctypes.Structure):
    """poslabel_device_allocator."""

    _fields_ = [
        ("user", POINTER),
        ("allocate", POINTER),
        ("release", POINTER),
    ]


class Workspace(ctypes.Structure):
    """poslabel_workspace."""

    _fields_ = [
        ("data", POINTER),
        ("size", ctypes.c_size_t),
    ]


class Device(ctypes.Structure):
    """poslabel_device."""

    _fields_ = [
        ("type", ctypes.c_int32),
        ("id", ctypes.c_int32),
    ]


class DType(ctypes.Structure):
    """poslabel_dtype."""

    _fields_ = [
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    ]


class Grid(ctypes.Structure):
    """poslabel_grid."""

    _fields_ = [
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
    ]


class ContextOptions(ctypes.Structure):
    """poslabel_context_options."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("device", Device),
        ("threads", ctypes.c_int32),
        ("isa", ctypes.c_int32),
        ("stream", POINTER),
        ("allocator", Allocator),
        ("log", LogCallback),
        ("log_user", POINTER),
        ("message", POINTER),
        ("message_size", ctypes.c_size_t),
        ("device_allocator", DeviceAllocator),
    ]


class Tensor(ctypes.Structure):
    """poslabel_tensor."""

    _fields_ = [
        ("data", POINTER),
        ("device", Device),
        ("ndim", ctypes.c_int32),
        ("dtype", DType),
        ("shape", POINTER),
        ("strides", POINTER),
        ("byte_offset", ctypes.c_uint64),
    ]


class AttentiveWeightsArgs(ctypes.Structure):
    """poslabel_attentive_weights_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("tokens", POINTER),
        ("cls", POINTER),
        ("pos_embed", POINTER),
        ("ids_keep", POINTER),
        ("temperature", ctypes.c_double),
        ("attention", POINTER),
        ("weights", POINTER),
        ("workspace", POINTER),
    ]


class AxisLossArgs(ctypes.Structure):
    """poslabel_axis_loss_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("kind", ctypes.c_int32),
        ("reduction", ctypes.c_int32),
        ("logits", POINTER),
        ("logits_y", POINTER),
        ("logits_x", POINTER),
        ("targets", POINTER),
        ("mask", POINTER),
        ("weights", POINTER),
        ("grad_scale", ctypes.c_double),
        ("grad_loss", POINTER),
        ("normalizer", POINTER),
        ("loss", POINTER),
        ("grad_logits", POINTER),
        ("grad_logits_y", POINTER),
        ("grad_logits_x", POINTER),
        ("weight_sum", POINTER),
        ("flags", POINTER),
        ("workspace", POINTER),
    ]


class DecoderTokensArgs(ctypes.Structure):
    """poslabel_decoder_tokens_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("x", POINTER),
        ("prefix_count", ctypes.c_int64),
        ("ids_restore", POINTER),
        ("mask_token", POINTER),
        ("pos_embed", POINTER),
        ("out", POINTER),
        ("workspace", POINTER),
    ]


class DecoderTokensBackwardArgs(ctypes.Structure):
    """poslabel_decoder_tokens_backward_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grad_out", POINTER),
        ("prefix_count", ctypes.c_int64),
        ("visible_count", ctypes.c_int64),
        ("ids_restore", POINTER),
        ("grad_x", POINTER),
        ("grad_mask_token", POINTER),
        ("grad_pos_embed", POINTER),
        ("workspace", POINTER),
    ]


class DropposLossArgs(ctypes.Structure):
    """poslabel_droppos_loss_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grid", Grid),
        ("normalization", ctypes.c_int32),
        ("confidence_filter", ctypes.c_int32),
        ("reduction", ctypes.c_int32),
        ("logits", POINTER),
        ("positions", POINTER),
        ("mask", POINTER),
        ("weights", POINTER),
        ("sigma", ctypes.c_double),
        ("grad_scale", ctypes.c_double),
        ("grad_loss", POINTER),
        ("normalizer", POINTER),
        ("loss", POINTER),
        ("grad_logits", POINTER),
        ("accuracy", POINTER),
        ("weight_sum", POINTER),
        ("flags", POINTER),
        ("sigma_scalar", POINTER),
        ("workspace", POINTER),
    ]


class SigmaScheduleArgs(ctypes.Structure):
    """poslabel_sigma_schedule_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("sigma_0", ctypes.c_double),
        ("epoch", ctypes.c_double),
        ("epochs", ctypes.c_double),
        ("sigma", POINTER),
    ]


class AbsoluteLabelsArgs(ctypes.Structure):
    """poslabel_absolute_labels_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grid", Grid),
        ("labels", POINTER),
        ("workspace", POINTER),
    ]


class RelativeLabelsArgs(ctypes.Structure):
    """poslabel_relative_labels_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grid", Grid),
        ("labels", POINTER),
        ("workspace", POINTER),
    ]


class SmoothingMapArgs(ctypes.Structure):
    """poslabel_smoothing_map_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grid", Grid),
        ("sigma", ctypes.c_double),
        ("normalization", ctypes.c_int32),
        ("map", POINTER),
        ("sigma_scalar", POINTER),
        ("workspace", POINTER),
    ]


class LinearPositionLossArgs(ctypes.Structure):
    """poslabel_linear_position_loss_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grid", Grid),
        ("labels", ctypes.c_int32),
        ("reduction", ctypes.c_int32),
        ("accumulate", ctypes.c_int32),
        ("features", POINTER),
        ("weight", POINTER),
        ("bias", POINTER),
        ("positions", POINTER),
        ("mask", POINTER),
        ("weights", POINTER),
        ("ignore_index", ctypes.c_int64),
        ("label_smoothing", ctypes.c_double),
        ("grad_scale", ctypes.c_double),
        ("grad_loss", POINTER),
        ("normalizer", POINTER),
        ("workspace_limit", ctypes.c_uint64),
        ("loss", POINTER),
        ("grad_features", POINTER),
        ("grad_weight", POINTER),
        ("grad_bias", POINTER),
        ("accuracy", POINTER),
        ("weight_sum", POINTER),
        ("flags", POINTER),
        ("workspace", POINTER),
    ]


class ScaleGradientArgs(ctypes.Structure):
    """poslabel_scale_gradient_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grad", POINTER),
        ("scale", POINTER),
        ("workspace", POINTER),
    ]


class RandomMaskArgs(ctypes.Structure):
    """poslabel_random_mask_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("tokens", ctypes.c_int64),
        ("mask_ratio", ctypes.c_double),
        ("noise", POINTER),
        ("seed", ctypes.c_uint64),
        ("first_sample", ctypes.c_uint32),
        ("step", ctypes.c_uint32),
        ("ids_keep", POINTER),
        ("ids_remove", POINTER),
        ("ids_restore", POINTER),
        ("mask", POINTER),
        ("samples", POINTER),
        ("step_scalar", POINTER),
        ("workspace", POINTER),
    ]


class RegularMaskArgs(ctypes.Structure):
    """poslabel_regular_mask_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grid", Grid),
        ("seed", ctypes.c_uint64),
        ("first_sample", ctypes.c_uint32),
        ("step", ctypes.c_uint32),
        ("ids_keep", POINTER),
        ("ids_remove", POINTER),
        ("ids_restore", POINTER),
        ("mask", POINTER),
        ("samples", POINTER),
        ("step_scalar", POINTER),
        ("workspace", POINTER),
    ]


class BlockMaskArgs(ctypes.Structure):
    """poslabel_block_mask_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grid", Grid),
        ("mask_ratio", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        ("first_sample", ctypes.c_uint32),
        ("step", ctypes.c_uint32),
        ("ids_keep", POINTER),
        ("ids_remove", POINTER),
        ("ids_restore", POINTER),
        ("mask", POINTER),
        ("samples", POINTER),
        ("step_scalar", POINTER),
        ("workspace", POINTER),
    ]


class DropposMasksArgs(ctypes.Structure):
    """poslabel_droppos_masks_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grid", Grid),
        ("patch_mask", ctypes.c_int32),
        ("wrong_positions", ctypes.c_int32),
        ("mask_ratio", ctypes.c_double),
        ("pos_mask_ratio", ctypes.c_double),
        ("patch_noise", POINTER),
        ("pos_noise", POINTER),
        ("shuffle_noise", POINTER),
        ("seed", ctypes.c_uint64),
        ("first_sample", ctypes.c_uint32),
        ("step", ctypes.c_uint32),
        ("ids_keep", POINTER),
        ("ids_remove", POINTER),
        ("ids_restore", POINTER),
        ("mask", POINTER),
        ("ids_keep_pos", POINTER),
        ("ids_restore_pos", POINTER),
        ("mask_pos", POINTER),
        ("positions", POINTER),
        ("places", POINTER),
        ("samples", POINTER),
        ("step_scalar", POINTER),
        ("workspace", POINTER),
    ]


class MlpPositionLossArgs(ctypes.Structure):
    """poslabel_mlp_position_loss_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grid", Grid),
        ("labels", ctypes.c_int32),
        ("reduction", ctypes.c_int32),
        ("activation", ctypes.c_int32),
        ("accumulate", ctypes.c_int32),
        ("features", POINTER),
        ("hidden_weight", POINTER),
        ("hidden_bias", POINTER),
        ("middle_weight", POINTER),
        ("middle_bias", POINTER),
        ("weight", POINTER),
        ("bias", POINTER),
        ("positions", POINTER),
        ("mask", POINTER),
        ("weights", POINTER),
        ("ignore_index", ctypes.c_int64),
        ("label_smoothing", ctypes.c_double),
        ("grad_scale", ctypes.c_double),
        ("grad_loss", POINTER),
        ("normalizer", POINTER),
        ("workspace_limit", ctypes.c_uint64),
        ("loss", POINTER),
        ("grad_features", POINTER),
        ("grad_hidden_weight", POINTER),
        ("grad_hidden_bias", POINTER),
        ("grad_middle_weight", POINTER),
        ("grad_middle_bias", POINTER),
        ("grad_weight", POINTER),
        ("grad_bias", POINTER),
        ("accuracy", POINTER),
        ("weight_sum", POINTER),
        ("flags", POINTER),
        ("workspace", POINTER),
    ]


class PairPositionLossArgs(ctypes.Structure):
    """poslabel_pair_position_loss_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grid", Grid),
        ("reduction", ctypes.c_int32),
        ("activation", ctypes.c_int32),
        ("accumulate", ctypes.c_int32),
        ("queries", POINTER),
        ("keys", POINTER),
        ("hidden_weight", POINTER),
        ("hidden_bias", POINTER),
        ("middle_weight", POINTER),
        ("middle_bias", POINTER),
        ("weight", POINTER),
        ("bias", POINTER),
        ("label_smoothing", ctypes.c_double),
        ("grad_scale", ctypes.c_double),
        ("grad_loss", POINTER),
        ("normalizer", POINTER),
        ("workspace_limit", ctypes.c_uint64),
        ("loss", POINTER),
        ("grad_queries", POINTER),
        ("grad_keys", POINTER),
        ("grad_hidden_weight", POINTER),
        ("grad_hidden_bias", POINTER),
        ("grad_middle_weight", POINTER),
        ("grad_middle_bias", POINTER),
        ("grad_weight", POINTER),
        ("grad_bias", POINTER),
        ("accuracy", POINTER),
        ("weight_sum", POINTER),
        ("flags", POINTER),
        ("workspace", POINTER),
    ]


class CellPairsArgs(ctypes.Structure):
    """poslabel_cell_pairs_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grid", Grid),
        ("seed", ctypes.c_uint64),
        ("first_sample", ctypes.c_uint32),
        ("step", ctypes.c_uint32),
        ("kind", ctypes.c_int32),
        ("samples", POINTER),
        ("step_scalar", POINTER),
        ("cells", POINTER),
        ("workspace", POINTER),
    ]


class CellOffsetsArgs(ctypes.Structure):
    """poslabel_cell_offsets_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grid", Grid),
        ("absolute", ctypes.c_int32),
        ("normalized", ctypes.c_int32),
        ("cells", POINTER),
        ("offsets", POINTER),
        ("workspace", POINTER),
    ]


class PairFeaturesArgs(ctypes.Structure):
    """poslabel_pair_features_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("features", POINTER),
        ("cells", POINTER),
        ("pairs", POINTER),
        ("workspace", POINTER),
    ]


class PairFeaturesBackwardArgs(ctypes.Structure):
    """poslabel_pair_features_backward_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grad_pairs", POINTER),
        ("cells", POINTER),
        ("grad_features", POINTER),
        ("workspace", POINTER),
    ]


class PositionCrossEntropyArgs(ctypes.Structure):
    """poslabel_position_cross_entropy_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grid", Grid),
        ("labels", ctypes.c_int32),
        ("reduction", ctypes.c_int32),
        ("logits", POINTER),
        ("positions", POINTER),
        ("mask", POINTER),
        ("weights", POINTER),
        ("ignore_index", ctypes.c_int64),
        ("label_smoothing", ctypes.c_double),
        ("grad_scale", ctypes.c_double),
        ("grad_loss", POINTER),
        ("normalizer", POINTER),
        ("loss", POINTER),
        ("grad_logits", POINTER),
        ("accuracy", POINTER),
        ("weight_sum", POINTER),
        ("flags", POINTER),
        ("workspace", POINTER),
    ]


class RegressionLossArgs(ctypes.Structure):
    """poslabel_regression_loss_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("kind", ctypes.c_int32),
        ("reduction", ctypes.c_int32),
        ("predictions", POINTER),
        ("targets", POINTER),
        ("mask", POINTER),
        ("weights", POINTER),
        ("beta", ctypes.c_double),
        ("grad_scale", ctypes.c_double),
        ("grad_loss", POINTER),
        ("normalizer", POINTER),
        ("loss", POINTER),
        ("grad_predictions", POINTER),
        ("weight_sum", POINTER),
        ("flags", POINTER),
        ("workspace", POINTER),
    ]


class AssembleTokensArgs(ctypes.Structure):
    """poslabel_assemble_tokens_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("tokens", POINTER),
        ("ids_keep", POINTER),
        ("mask_pos", POINTER),
        ("positions", POINTER),
        ("places", POINTER),
        ("prefix_tokens", POINTER),
        ("pos_embed", POINTER),
        ("mask_token", POINTER),
        ("x", POINTER),
        ("workspace", POINTER),
        ("register_count", ctypes.c_int64),
    ]


class AssembleTokensBackwardArgs(ctypes.Structure):
    """poslabel_assemble_tokens_backward_args."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("grad_x", POINTER),
        ("tokens_per_image", ctypes.c_int64),
        ("prefix_count", ctypes.c_int64),
        ("ids_keep", POINTER),
        ("mask_pos", POINTER),
        ("positions", POINTER),
        ("places", POINTER),
        ("grad_tokens", POINTER),
        ("grad_mask_token", POINTER),
        ("grad_prefix_tokens", POINTER),
        ("grad_pos_embed", POINTER),
        ("workspace", POINTER),
        ("register_count", ctypes.c_int64),
    ]


# The args struct of each operation.
ARGS: Dict[str, Type[ctypes.Structure]] = {
    "attentive_weights": AttentiveWeightsArgs,
    "axis_loss": AxisLossArgs,
    "decoder_tokens": DecoderTokensArgs,
    "decoder_tokens_backward": DecoderTokensBackwardArgs,
    "droppos_loss": DropposLossArgs,
    "sigma_schedule": SigmaScheduleArgs,
    "absolute_labels": AbsoluteLabelsArgs,
    "relative_labels": RelativeLabelsArgs,
    "smoothing_map": SmoothingMapArgs,
    "linear_position_loss": LinearPositionLossArgs,
    "scale_gradient": ScaleGradientArgs,
    "random_mask": RandomMaskArgs,
    "regular_mask": RegularMaskArgs,
    "block_mask": BlockMaskArgs,
    "droppos_masks": DropposMasksArgs,
    "mlp_position_loss": MlpPositionLossArgs,
    "pair_position_loss": PairPositionLossArgs,
    "cell_pairs": CellPairsArgs,
    "cell_offsets": CellOffsetsArgs,
    "pair_features": PairFeaturesArgs,
    "pair_features_backward": PairFeaturesBackwardArgs,
    "position_cross_entropy": PositionCrossEntropyArgs,
    "regression_loss": RegressionLossArgs,
    "assemble_tokens": AssembleTokensArgs,
    "assemble_tokens_backward": AssembleTokensBackwardArgs,
}
