/*
 * poslabel.h: all of libposlabel.
 *
 *
 * libposlabel computes labels, masks, targets, losses and gradients of positional pretext tasks for vision
 * transformers, on tensors that the caller owns.  The headers below are the manual.  Read poslabel/tensor.h and
 * poslabel/context.h first.
 *
 * Args structs.  An operation takes a context and one struct.  The init macro of the struct sets struct_size and the
 * defaults:
 *
 *     poslabel_droppos_loss_args args = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
 *     args.logits = &logits;
 *     ...
 *     if (poslabel_droppos_loss(context, &args) != POSLABEL_OK)
 *         fprintf(stderr, "%s\n", poslabel_context_message(context));
 *
 * New versions only append fields.  An older caller may pass a struct that is shorter than the library's; the missing
 * fields then get their defaults.  A newer caller may pass a longer struct as long as the fields that the library does
 * not know are zero; otherwise the call returns POSLABEL_ERROR_UNSUPPORTED.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef POSLABEL_H
#define POSLABEL_H

#include <poslabel/attention.h>
#include <poslabel/axis.h>
#include <poslabel/context.h>
#include <poslabel/decoder.h>
#include <poslabel/droppos.h>
#include <poslabel/labels.h>
#include <poslabel/linear.h>
#include <poslabel/loss.h>
#include <poslabel/masks.h>
#include <poslabel/mlp.h>
#include <poslabel/pairs.h>
#include <poslabel/position.h>
#include <poslabel/random.h>
#include <poslabel/regression.h>
#include <poslabel/schedule.h>
#include <poslabel/status.h>
#include <poslabel/tensor.h>
#include <poslabel/tokens.h>
#include <poslabel/version.h>

#endif
