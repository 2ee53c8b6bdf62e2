/*
 * poslabel.h: all of libposlabel.  SPDX-License-Identifier: Apache-2.0
 *
 * Labels, masks, targets, losses and gradients of positional pretext tasks for vision transformers, on tensors that
 * the caller owns.  The headers below are the manual; poslabel/tensor.h and poslabel/context.h come first.
 *
 * Args structs.  An operation takes a context and one struct, whose init macro sets struct_size and the defaults:
 *
 *     poslabel_droppos_loss_args args = POSLABEL_DROPPOS_LOSS_ARGS_INIT;
 *     args.logits = &logits;
 *     ...
 *     if (poslabel_droppos_loss(context, &args) != POSLABEL_OK)
 *         fprintf(stderr, "%s\n", poslabel_context_message(context));
 *
 * Fields are only ever appended.  A struct shorter than the library's, from an older caller, gets the defaults for
 * the fields it lacks; a longer one, from a newer caller, is accepted while the fields that the library does not know
 * are zero, and is POSLABEL_ERROR_UNSUPPORTED otherwise.
 */
#ifndef POSLABEL_H
#define POSLABEL_H

#include <poslabel/attention.h>
#include <poslabel/context.h>
#include <poslabel/droppos.h>
#include <poslabel/labels.h>
#include <poslabel/linear.h>
#include <poslabel/loss.h>
#include <poslabel/masks.h>
#include <poslabel/position.h>
#include <poslabel/random.h>
#include <poslabel/status.h>
#include <poslabel/tensor.h>
#include <poslabel/tokens.h>
#include <poslabel/version.h>

#endif
