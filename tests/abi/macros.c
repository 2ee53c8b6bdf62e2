/*
 * Every macro of the public headers, in C11 and in C++17.
 * Written by bindings/generate.py from the public headers. Do not edit it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <poslabel.h>

#if POSLABEL_VERSION < 100 || !defined(POSLABEL_API)
#error "version macros"
#endif

int use_macros(void);

int use_macros(void)
{
    static float data[6];
    static const int64_t shape[] = {2, 3};
    poslabel_context_options context_options = POSLABEL_CONTEXT_OPTIONS_INIT;
    poslabel_attentive_weights_args attentive_weights = POSLABEL_ATTENTIVE_WEIGHTS_ARGS_INIT;
    poslabel_axis_loss_args axis_loss = POSLABEL_AXIS_LOSS_ARGS_INIT;
    poslabel_decoder_tokens_args decoder_tokens = POSLABEL_DECODER_TOKENS_ARGS_INIT;
    poslabel_decoder_tokens_backward_args decoder_tokens_backward = POSLABEL_DECODER_TOKENS_BACKWARD_ARGS_INIT;
    poslabel_droppos_loss_args droppos_loss = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
    poslabel_sigma_schedule_args sigma_schedule = POSLABEL_SIGMA_SCHEDULE_ARGS_INIT;
    poslabel_absolute_labels_args absolute_labels = POSLABEL_ABSOLUTE_LABELS_ARGS_INIT;
    poslabel_relative_labels_args relative_labels = POSLABEL_RELATIVE_LABELS_ARGS_INIT;
    poslabel_smoothing_map_args smoothing_map = POSLABEL_SMOOTHING_MAP_ARGS_INIT;
    poslabel_linear_position_loss_args linear_position_loss = POSLABEL_LINEAR_POSITION_LOSS_ARGS_INIT;
    poslabel_scale_gradient_args scale_gradient = POSLABEL_SCALE_GRADIENT_ARGS_INIT;
    poslabel_random_mask_args random_mask = POSLABEL_RANDOM_MASK_ARGS_INIT;
    poslabel_regular_mask_args regular_mask = POSLABEL_REGULAR_MASK_ARGS_INIT;
    poslabel_block_mask_args block_mask = POSLABEL_BLOCK_MASK_ARGS_INIT;
    poslabel_droppos_masks_args droppos_masks = POSLABEL_DROPPOS_MASKS_ARGS_INIT;
    poslabel_mlp_position_loss_args mlp_position_loss = POSLABEL_MLP_POSITION_LOSS_ARGS_INIT;
    poslabel_pair_position_loss_args pair_position_loss = POSLABEL_PAIR_POSITION_LOSS_ARGS_INIT;
    poslabel_cell_pairs_args cell_pairs = POSLABEL_CELL_PAIRS_ARGS_INIT;
    poslabel_cell_offsets_args cell_offsets = POSLABEL_CELL_OFFSETS_ARGS_INIT;
    poslabel_pair_features_args pair_features = POSLABEL_PAIR_FEATURES_ARGS_INIT;
    poslabel_pair_features_backward_args pair_features_backward = POSLABEL_PAIR_FEATURES_BACKWARD_ARGS_INIT;
    poslabel_position_cross_entropy_args position_cross_entropy = POSLABEL_POSITION_CROSS_ENTROPY_ARGS_INIT;
    poslabel_regression_loss_args regression_loss = POSLABEL_REGRESSION_LOSS_ARGS_INIT;
    poslabel_assemble_tokens_args assemble_tokens = POSLABEL_ASSEMBLE_TOKENS_ARGS_INIT;
    poslabel_assemble_tokens_backward_args assemble_tokens_backward = POSLABEL_ASSEMBLE_TOKENS_BACKWARD_ARGS_INIT;
    poslabel_tensor tensor = POSLABEL_CPU_TENSOR(data, POSLABEL_FLOAT32, 2, shape);
    poslabel_dtype dtypes[] = {
        POSLABEL_FLOAT16,
        POSLABEL_FLOAT32,
        POSLABEL_FLOAT64,
        POSLABEL_BFLOAT16,
        POSLABEL_INT32,
        POSLABEL_INT64,
        POSLABEL_UINT8,
        POSLABEL_BOOL,
    };
    size_t size = 0;
    size += context_options.struct_size;
    size += attentive_weights.struct_size;
    size += axis_loss.struct_size;
    size += decoder_tokens.struct_size;
    size += decoder_tokens_backward.struct_size;
    size += droppos_loss.struct_size;
    size += sigma_schedule.struct_size;
    size += absolute_labels.struct_size;
    size += relative_labels.struct_size;
    size += smoothing_map.struct_size;
    size += linear_position_loss.struct_size;
    size += scale_gradient.struct_size;
    size += random_mask.struct_size;
    size += regular_mask.struct_size;
    size += block_mask.struct_size;
    size += droppos_masks.struct_size;
    size += mlp_position_loss.struct_size;
    size += pair_position_loss.struct_size;
    size += cell_pairs.struct_size;
    size += cell_offsets.struct_size;
    size += pair_features.struct_size;
    size += pair_features_backward.struct_size;
    size += position_cross_entropy.struct_size;
    size += regression_loss.struct_size;
    size += assemble_tokens.struct_size;
    size += assemble_tokens_backward.struct_size;
    return (int)size + tensor.ndim + dtypes[0].bits;
}
