/*
 * The layout of every public struct on LP64 systems.
 *
 * These numbers are the ABI: they are written down, not computed.  A field may be added at the end of an args struct or
 * of the options; then its line is added here and the SIZE above changes.  Nothing else may ever change.
 *
 * Whoever includes this defines SIZE(type, bytes) and FIELD(type, name, offset), which it undefines.
 *
 * SPDX-License-Identifier: Apache-2.0
 */

SIZE(poslabel_device, 8)
FIELD(poslabel_device, type, 0) FIELD(poslabel_device, id, 4)

SIZE(poslabel_dtype, 4)
FIELD(poslabel_dtype, code, 0) FIELD(poslabel_dtype, bits, 1) FIELD(poslabel_dtype, lanes, 2)

SIZE(poslabel_tensor, 48)
FIELD(poslabel_tensor, data, 0) FIELD(poslabel_tensor, device, 8) FIELD(poslabel_tensor, ndim, 16)
FIELD(poslabel_tensor, dtype, 20) FIELD(poslabel_tensor, shape, 24) FIELD(poslabel_tensor, strides, 32)
FIELD(poslabel_tensor, byte_offset, 40)

SIZE(poslabel_grid, 8)
FIELD(poslabel_grid, height, 0) FIELD(poslabel_grid, width, 4)

SIZE(poslabel_allocator, 24)
FIELD(poslabel_allocator, user, 0) FIELD(poslabel_allocator, allocate, 8) FIELD(poslabel_allocator, release, 16)

SIZE(poslabel_device_allocator, 24)
FIELD(poslabel_device_allocator, user, 0) FIELD(poslabel_device_allocator, allocate, 8)
FIELD(poslabel_device_allocator, release, 16)

SIZE(poslabel_workspace, 16)
FIELD(poslabel_workspace, data, 0) FIELD(poslabel_workspace, size, 8)

SIZE(poslabel_context_options, 112)
FIELD(poslabel_context_options, struct_size, 0) FIELD(poslabel_context_options, device, 8)
FIELD(poslabel_context_options, threads, 16) FIELD(poslabel_context_options, isa, 20)
FIELD(poslabel_context_options, stream, 24) FIELD(poslabel_context_options, allocator, 32)
FIELD(poslabel_context_options, log, 56) FIELD(poslabel_context_options, log_user, 64)
FIELD(poslabel_context_options, message, 72) FIELD(poslabel_context_options, message_size, 80)
FIELD(poslabel_context_options, device_allocator, 88)

SIZE(poslabel_absolute_labels_args, 32)
FIELD(poslabel_absolute_labels_args, struct_size, 0) FIELD(poslabel_absolute_labels_args, grid, 8)
FIELD(poslabel_absolute_labels_args, labels, 16)
FIELD(poslabel_absolute_labels_args, workspace, 24)

SIZE(poslabel_assemble_tokens_args, 88)
FIELD(poslabel_assemble_tokens_args, struct_size, 0) FIELD(poslabel_assemble_tokens_args, tokens, 8)
FIELD(poslabel_assemble_tokens_args, ids_keep, 16) FIELD(poslabel_assemble_tokens_args, mask_pos, 24)
FIELD(poslabel_assemble_tokens_args, positions, 32) FIELD(poslabel_assemble_tokens_args, places, 40)
FIELD(poslabel_assemble_tokens_args, prefix_tokens, 48) FIELD(poslabel_assemble_tokens_args, pos_embed, 56)
FIELD(poslabel_assemble_tokens_args, mask_token, 64) FIELD(poslabel_assemble_tokens_args, x, 72)
FIELD(poslabel_assemble_tokens_args, workspace, 80)

SIZE(poslabel_assemble_tokens_backward_args, 104)
FIELD(poslabel_assemble_tokens_backward_args, struct_size, 0) FIELD(poslabel_assemble_tokens_backward_args, grad_x, 8)
FIELD(poslabel_assemble_tokens_backward_args, tokens_per_image, 16)
FIELD(poslabel_assemble_tokens_backward_args, prefix_count, 24)
FIELD(poslabel_assemble_tokens_backward_args, ids_keep, 32)
FIELD(poslabel_assemble_tokens_backward_args, mask_pos, 40)
FIELD(poslabel_assemble_tokens_backward_args, positions, 48) FIELD(poslabel_assemble_tokens_backward_args, places, 56)
FIELD(poslabel_assemble_tokens_backward_args, grad_tokens, 64)
FIELD(poslabel_assemble_tokens_backward_args, grad_mask_token, 72)
FIELD(poslabel_assemble_tokens_backward_args, grad_prefix_tokens, 80)
FIELD(poslabel_assemble_tokens_backward_args, grad_pos_embed, 88)
FIELD(poslabel_assemble_tokens_backward_args, workspace, 96)

SIZE(poslabel_attentive_weights_args, 72)
FIELD(poslabel_attentive_weights_args, struct_size, 0) FIELD(poslabel_attentive_weights_args, tokens, 8)
FIELD(poslabel_attentive_weights_args, cls, 16) FIELD(poslabel_attentive_weights_args, pos_embed, 24)
FIELD(poslabel_attentive_weights_args, ids_keep, 32) FIELD(poslabel_attentive_weights_args, temperature, 40)
FIELD(poslabel_attentive_weights_args, attention, 48) FIELD(poslabel_attentive_weights_args, weights, 56)
FIELD(poslabel_attentive_weights_args, workspace, 64)

SIZE(poslabel_block_mask_args, 96)
FIELD(poslabel_block_mask_args, struct_size, 0) FIELD(poslabel_block_mask_args, grid, 8)
FIELD(poslabel_block_mask_args, mask_ratio, 16) FIELD(poslabel_block_mask_args, seed, 24)
FIELD(poslabel_block_mask_args, first_sample, 32) FIELD(poslabel_block_mask_args, step, 36)
FIELD(poslabel_block_mask_args, ids_keep, 40) FIELD(poslabel_block_mask_args, ids_remove, 48)
FIELD(poslabel_block_mask_args, ids_restore, 56) FIELD(poslabel_block_mask_args, mask, 64)
FIELD(poslabel_block_mask_args, samples, 72) FIELD(poslabel_block_mask_args, step_scalar, 80)
FIELD(poslabel_block_mask_args, workspace, 88)

SIZE(poslabel_droppos_loss_args, 152)
FIELD(poslabel_droppos_loss_args, struct_size, 0) FIELD(poslabel_droppos_loss_args, grid, 8)
FIELD(poslabel_droppos_loss_args, normalization, 16) FIELD(poslabel_droppos_loss_args, confidence_filter, 20)
FIELD(poslabel_droppos_loss_args, reduction, 24) FIELD(poslabel_droppos_loss_args, logits, 32)
FIELD(poslabel_droppos_loss_args, positions, 40) FIELD(poslabel_droppos_loss_args, mask, 48)
FIELD(poslabel_droppos_loss_args, weights, 56) FIELD(poslabel_droppos_loss_args, sigma, 64)
FIELD(poslabel_droppos_loss_args, grad_scale, 72) FIELD(poslabel_droppos_loss_args, grad_loss, 80)
FIELD(poslabel_droppos_loss_args, normalizer, 88) FIELD(poslabel_droppos_loss_args, loss, 96)
FIELD(poslabel_droppos_loss_args, grad_logits, 104) FIELD(poslabel_droppos_loss_args, accuracy, 112)
FIELD(poslabel_droppos_loss_args, weight_sum, 120) FIELD(poslabel_droppos_loss_args, flags, 128)
FIELD(poslabel_droppos_loss_args, sigma_scalar, 136) FIELD(poslabel_droppos_loss_args, workspace, 144)

SIZE(poslabel_droppos_masks_args, 176)
FIELD(poslabel_droppos_masks_args, struct_size, 0) FIELD(poslabel_droppos_masks_args, grid, 8)
FIELD(poslabel_droppos_masks_args, patch_mask, 16) FIELD(poslabel_droppos_masks_args, wrong_positions, 20)
FIELD(poslabel_droppos_masks_args, mask_ratio, 24) FIELD(poslabel_droppos_masks_args, pos_mask_ratio, 32)
FIELD(poslabel_droppos_masks_args, patch_noise, 40) FIELD(poslabel_droppos_masks_args, pos_noise, 48)
FIELD(poslabel_droppos_masks_args, shuffle_noise, 56) FIELD(poslabel_droppos_masks_args, seed, 64)
FIELD(poslabel_droppos_masks_args, first_sample, 72) FIELD(poslabel_droppos_masks_args, step, 76)
FIELD(poslabel_droppos_masks_args, ids_keep, 80) FIELD(poslabel_droppos_masks_args, ids_remove, 88)
FIELD(poslabel_droppos_masks_args, ids_restore, 96) FIELD(poslabel_droppos_masks_args, mask, 104)
FIELD(poslabel_droppos_masks_args, ids_keep_pos, 112) FIELD(poslabel_droppos_masks_args, ids_restore_pos, 120)
FIELD(poslabel_droppos_masks_args, mask_pos, 128) FIELD(poslabel_droppos_masks_args, positions, 136)
FIELD(poslabel_droppos_masks_args, places, 144)
FIELD(poslabel_droppos_masks_args, samples, 152) FIELD(poslabel_droppos_masks_args, step_scalar, 160)
FIELD(poslabel_droppos_masks_args, workspace, 168)

SIZE(poslabel_linear_position_loss_args, 192)
FIELD(poslabel_linear_position_loss_args, struct_size, 0) FIELD(poslabel_linear_position_loss_args, grid, 8)
FIELD(poslabel_linear_position_loss_args, labels, 16) FIELD(poslabel_linear_position_loss_args, reduction, 20)
FIELD(poslabel_linear_position_loss_args, accumulate, 24) FIELD(poslabel_linear_position_loss_args, features, 32)
FIELD(poslabel_linear_position_loss_args, weight, 40) FIELD(poslabel_linear_position_loss_args, bias, 48)
FIELD(poslabel_linear_position_loss_args, positions, 56) FIELD(poslabel_linear_position_loss_args, mask, 64)
FIELD(poslabel_linear_position_loss_args, weights, 72) FIELD(poslabel_linear_position_loss_args, ignore_index, 80)
FIELD(poslabel_linear_position_loss_args, label_smoothing, 88) FIELD(poslabel_linear_position_loss_args, grad_scale, 96)
FIELD(poslabel_linear_position_loss_args, grad_loss, 104) FIELD(poslabel_linear_position_loss_args, normalizer, 112)
FIELD(poslabel_linear_position_loss_args, workspace_limit, 120) FIELD(poslabel_linear_position_loss_args, loss, 128)
FIELD(poslabel_linear_position_loss_args, grad_features, 136)
FIELD(poslabel_linear_position_loss_args, grad_weight, 144) FIELD(poslabel_linear_position_loss_args, grad_bias, 152)
FIELD(poslabel_linear_position_loss_args, accuracy, 160) FIELD(poslabel_linear_position_loss_args, weight_sum, 168)
FIELD(poslabel_linear_position_loss_args, flags, 176)
FIELD(poslabel_linear_position_loss_args, workspace, 184)

SIZE(poslabel_position_cross_entropy_args, 144)
FIELD(poslabel_position_cross_entropy_args, struct_size, 0) FIELD(poslabel_position_cross_entropy_args, grid, 8)
FIELD(poslabel_position_cross_entropy_args, labels, 16) FIELD(poslabel_position_cross_entropy_args, reduction, 20)
FIELD(poslabel_position_cross_entropy_args, logits, 24) FIELD(poslabel_position_cross_entropy_args, positions, 32)
FIELD(poslabel_position_cross_entropy_args, mask, 40) FIELD(poslabel_position_cross_entropy_args, weights, 48)
FIELD(poslabel_position_cross_entropy_args, ignore_index, 56)
FIELD(poslabel_position_cross_entropy_args, label_smoothing, 64)
FIELD(poslabel_position_cross_entropy_args, grad_scale, 72) FIELD(poslabel_position_cross_entropy_args, grad_loss, 80)
FIELD(poslabel_position_cross_entropy_args, normalizer, 88) FIELD(poslabel_position_cross_entropy_args, loss, 96)
FIELD(poslabel_position_cross_entropy_args, grad_logits, 104)
FIELD(poslabel_position_cross_entropy_args, accuracy, 112)
FIELD(poslabel_position_cross_entropy_args, weight_sum, 120) FIELD(poslabel_position_cross_entropy_args, flags, 128)
FIELD(poslabel_position_cross_entropy_args, workspace, 136)

SIZE(poslabel_random_mask_args, 104)
FIELD(poslabel_random_mask_args, struct_size, 0) FIELD(poslabel_random_mask_args, tokens, 8)
FIELD(poslabel_random_mask_args, mask_ratio, 16) FIELD(poslabel_random_mask_args, noise, 24)
FIELD(poslabel_random_mask_args, seed, 32) FIELD(poslabel_random_mask_args, first_sample, 40)
FIELD(poslabel_random_mask_args, step, 44) FIELD(poslabel_random_mask_args, ids_keep, 48)
FIELD(poslabel_random_mask_args, ids_remove, 56) FIELD(poslabel_random_mask_args, ids_restore, 64)
FIELD(poslabel_random_mask_args, mask, 72)
FIELD(poslabel_random_mask_args, samples, 80) FIELD(poslabel_random_mask_args, step_scalar, 88)
FIELD(poslabel_random_mask_args, workspace, 96)

SIZE(poslabel_regular_mask_args, 88)
FIELD(poslabel_regular_mask_args, struct_size, 0) FIELD(poslabel_regular_mask_args, grid, 8)
FIELD(poslabel_regular_mask_args, seed, 16) FIELD(poslabel_regular_mask_args, first_sample, 24)
FIELD(poslabel_regular_mask_args, step, 28) FIELD(poslabel_regular_mask_args, ids_keep, 32)
FIELD(poslabel_regular_mask_args, ids_remove, 40) FIELD(poslabel_regular_mask_args, ids_restore, 48)
FIELD(poslabel_regular_mask_args, mask, 56)
FIELD(poslabel_regular_mask_args, samples, 64) FIELD(poslabel_regular_mask_args, step_scalar, 72)
FIELD(poslabel_regular_mask_args, workspace, 80)

SIZE(poslabel_relative_labels_args, 32)
FIELD(poslabel_relative_labels_args, struct_size, 0) FIELD(poslabel_relative_labels_args, grid, 8)
FIELD(poslabel_relative_labels_args, labels, 16)
FIELD(poslabel_relative_labels_args, workspace, 24)

SIZE(poslabel_scale_gradient_args, 32)
FIELD(poslabel_scale_gradient_args, struct_size, 0) FIELD(poslabel_scale_gradient_args, grad, 8)
FIELD(poslabel_scale_gradient_args, scale, 16)
FIELD(poslabel_scale_gradient_args, workspace, 24)

SIZE(poslabel_sigma_schedule_args, 40)
FIELD(poslabel_sigma_schedule_args, struct_size, 0) FIELD(poslabel_sigma_schedule_args, sigma_0, 8)
FIELD(poslabel_sigma_schedule_args, epoch, 16) FIELD(poslabel_sigma_schedule_args, epochs, 24)
FIELD(poslabel_sigma_schedule_args, sigma, 32)

SIZE(poslabel_smoothing_map_args, 56)
FIELD(poslabel_smoothing_map_args, struct_size, 0) FIELD(poslabel_smoothing_map_args, grid, 8)
FIELD(poslabel_smoothing_map_args, sigma, 16) FIELD(poslabel_smoothing_map_args, normalization, 24)
FIELD(poslabel_smoothing_map_args, map, 32)
FIELD(poslabel_smoothing_map_args, sigma_scalar, 40) FIELD(poslabel_smoothing_map_args, workspace, 48)

#undef SIZE
#undef FIELD
