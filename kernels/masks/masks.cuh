/*
 * The keys of masks: from noise, from random words, or from a rule that chooses patches.
 *
 * Every mask is the order of its keys.  The caller's noise becomes integers that sort like the floats.  A regular mask
 * sorts the patches that it chooses by their cell, before all others.  A block mask sorts the patches of its square
 * first.  Equal values keep the order of their index, as the contract of each mask says.
 *
 * A key has room for half of a float64.  Float64 noise is sorted in two stages: by its lower half, then by its upper
 * half and the place in the first order.  In the first stage all other rankings have keys that keep their order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLB_CUDA_MASKS_H
#define PLB_CUDA_MASKS_H

#include "core/rows.cuh"
#include "masks.h"
#include "masks/ranks.cuh"
#include "random.h"

#include <poslabel/masks.h>

/* The rankings of an image. */
enum plb_ranked { PLB_RANK_PATCHES, PLB_RANK_POSITIONS, PLB_RANK_PLACES, PLB_RANKED };

struct plb_ranking {
    plb_view_rows noise; /* not given: random words, or a rule that chooses patches */
    long long start;     /* its first number among the numbers of an image: a multiple of PLB_WARP_KEYS */
    unsigned length;     /* 0: not needed */
    unsigned tiles;      /* parts of PLB_BLOCK_KEYS numbers */
};

/* The parameters of the kernels. */
struct plb_mask_plan {
    plb_ranking rankings[PLB_RANKED];
    long long pitch;       /* numbers of an image, with the gaps between rankings */
    long long first_image; /* of this launch */
    long long images;      /* of this launch */
    unsigned longest;      /* length of a ranking */
    unsigned stages;       /* 2 with float64 noise */
    unsigned tokens, keep, keep_pos;
    unsigned height, width, side;
    unsigned long long seed;
    unsigned first_sample, step;
    const char *samples, *step_scalar; /* NULL: first_sample + image, step */
    int samples_dtype, step_dtype;
    unsigned char patch_mask; /* a poslabel_patch_mask */
    bool wrong_positions;
    plb_view_rows ids_keep, ids_remove, ids_restore, mask;
    plb_view_rows ids_keep_pos, ids_restore_pos, mask_pos, positions, places;
    plb_device_state *state;
    /* Device memory: `pitch` numbers for each image of a launch.  Not used if a block sorts an image. */
    plb_key *keys[2];
    int *before; /* the first stage's order */
};

/* The 256 numbers of a warp. */
struct plb_warp_part {
    int which;         /* a plb_ranked */
    unsigned at;       /* index of the first one in the ranking */
    long long image;   /* in the batch */
    unsigned stage;    /* 0 or 1 */
    const int *before; /* the ranking's order in the first stage */
};

PLB_DEVICE int plb_ranking_at(const plb_mask_plan &plan, long long number)
{
    return number >= plan.rankings[PLB_RANK_PLACES].start      ? PLB_RANK_PLACES
           : number >= plan.rankings[PLB_RANK_POSITIONS].start ? PLB_RANK_POSITIONS
                                                               : PLB_RANK_PATCHES;
}

PLB_DEVICE long long plb_given_sample(const plb_mask_plan &plan, long long image)
{
    return plb_load_id(plan.samples + image * plb_element_size(plan.samples_dtype), plan.samples_dtype);
}

/* Reports the index of an image, and the step with that of the first, if they are out of range.  For one thread. */
PLB_DEVICE void plb_check_draw(const plb_mask_plan &plan, long long image)
{
    if (plan.samples && (unsigned long long)plb_given_sample(plan, image) >= (unsigned long long)PLB_SAMPLES)
        plb_found(plan.state, PLB_FOUND_SAMPLES, image);
    if (image == 0 && plan.step_scalar && (unsigned long long)plb_load_id(plan.step_scalar, plan.step_dtype) >> 32)
        plb_found(plan.state, PLB_FOUND_STEP, 0);
}

/* Four words of an image from one evaluation of Philox. */
PLB_DEVICE void plb_draw_words(const plb_mask_plan &plan, const plb_warp_part &part, unsigned stream,
                               unsigned evaluation, unsigned (&words)[4])
{
    const long long sample = plan.samples ? plb_given_sample(plan, part.image) & (PLB_SAMPLES - 1)
                                          : (long long)plan.first_sample + part.image;
    const unsigned step = plan.step_scalar ? (unsigned)plb_load_id(plan.step_scalar, plan.step_dtype) : plan.step;
    plb_philox(plan.seed, (unsigned)sample, evaluation, plb_stream_of(stream, sample), step, words);
}

/* Bits whose integer order is the order of the floats; -0 becomes +0. */
template <typename Bits> PLB_DEVICE Bits plb_sortable(Bits bits)
{
    const Bits sign = (Bits)((Bits)1 << (8 * sizeof bits - 1));
    if (bits == sign)
        bits = 0;
    return bits & sign ? (Bits)~bits : (Bits)(bits | sign);
}

/* The keys of the caller's noise.  A NaN is reported, and sorts by its bits. */
template <typename Bits>
PLB_DEVICE void plb_noise_keys(const plb_mask_plan &plan, const plb_warp_part &part, Bits infinity, plb_key *keys)
{
    const plb_ranking &ranking = plan.rankings[part.which];
    const Bits *const noise = (const Bits *)plb_view_row(ranking.noise, part.image);
    const bool is_last = part.stage + 1 == plan.stages;
    Bits bits[PLB_THREAD_KEYS];
#pragma unroll
    for (unsigned j = 0; j < PLB_THREAD_KEYS; j++) {
        const unsigned at = part.at + j * 32 + threadIdx.x % 32;
        bits[j] = at < ranking.length ? noise[part.stage ? (unsigned)part.before[at] : at] : (Bits)0;
    }
#pragma unroll
    for (unsigned j = 0; j < PLB_THREAD_KEYS; j++) {
        const unsigned i = j * 32 + threadIdx.x % 32, at = part.at + i;
        const unsigned long long sortable = plb_sortable(bits[j]);
        const unsigned value = (unsigned)(sizeof(Bits) == 8 && is_last ? sortable >> 32 : sortable);
        if (is_last && (bits[j] & (Bits) ~((Bits)1 << (8 * sizeof(Bits) - 1))) > infinity)
            plb_found(plan.state, (plb_finding)(PLB_FOUND_PATCH_NOISE + part.which),
                      part.image * ranking.length + (part.stage ? (unsigned)part.before[at] : at));
        keys[plb_slot(i)] = at < ranking.length ? plb_key_of(value, at) : PLB_NO_KEY;
    }
}

/* The keys of the random words of a stream. */
PLB_DEVICE void plb_word_keys(const plb_mask_plan &plan, const plb_warp_part &part, plb_key *keys)
{
    const unsigned length = plan.rankings[part.which].length;
#pragma unroll
    for (unsigned i = threadIdx.x % 32 * 4; i < PLB_WARP_KEYS; i += 4 * 32) {
        unsigned words[4];
        plb_draw_words(plan, part, POSLABEL_STREAM_PATCH_MASK + (unsigned)part.which, (part.at + i) / 4, words);
#pragma unroll
        for (unsigned j = 0; j < 4; j++)
            keys[plb_slot(i + j)] = part.at + i + j < length ? plb_key_of(words[j], part.at + i + j) : PLB_NO_KEY;
    }
}

/* The value of patch n of a regular mask: its cell, if the cell keeps it; else the largest value. */
PLB_DEVICE unsigned plb_regular_value(const plb_mask_plan &plan, const plb_warp_part &part, unsigned n)
{
    const unsigned y = n / plan.width, x = n - y * plan.width, cell = y / 2 * ((plan.width + 1) / 2) + x / 2;
    const unsigned wide = (x | 1) < plan.width, high = (y | 1) < plan.height; /* the cell has two patches */
    unsigned words[4];
    plb_draw_words(plan, part, POSLABEL_STREAM_REGULAR_MASK, cell / 4, words);
    const unsigned word = cell & 2 ? (cell & 1 ? words[3] : words[2]) : (cell & 1 ? words[1] : words[0]);
    const unsigned choice = plb_random_below(word, 1u << (wide + high));
    return (y & 1) == choice >> wide && (x & 1) == (choice & wide) ? cell : ~0u;
}

/* The keys of patches that are chosen by a rule: regular and block masks. */
PLB_DEVICE void plb_chosen_keys(const plb_mask_plan &plan, const plb_warp_part &part, plb_key *keys)
{
    const bool is_block = plan.patch_mask == POSLABEL_PATCH_MASK_BLOCK;
    unsigned top = 0, left = 0;
    if (is_block) {
        unsigned words[4];
        plb_draw_words(plan, part, POSLABEL_STREAM_BLOCK_MASK, 0, words);
        top = plb_random_below(words[0], plan.height - plan.side + 1);
        left = plb_random_below(words[1], plan.width - plan.side + 1);
    }
#pragma unroll 2
    for (unsigned i = threadIdx.x % 32; i < PLB_WARP_KEYS; i += 32) {
        const unsigned n = part.at + i;
        plb_key key = PLB_NO_KEY;
        if (n < plan.tokens) {
            /* a difference below 0 wraps to a number above the side */
            const unsigned value = !is_block ? plb_regular_value(plan, part, n)
                                             : n / plan.width - top >= plan.side || n % plan.width - left >= plan.side;
            key = plb_key_of(value, n);
        }
        keys[plb_slot(i)] = key;
    }
}

/* Fills the keys of a warp. */
PLB_DEVICE void plb_make_keys(const plb_mask_plan &plan, const plb_warp_part &part, plb_key *keys)
{
    const plb_view_rows &noise = plan.rankings[part.which].noise;
    const unsigned length = plan.rankings[part.which].length;
    const bool has_halves = noise.data && noise.dtype == PLB_F64;
    if (part.at >= length || (part.stage + 1 < plan.stages && !has_halves)) {
        for (unsigned i = threadIdx.x % 32; i < PLB_WARP_KEYS; i += 32)
            keys[plb_slot(i)] = part.at + i < length ? plb_key_of(0, part.at + i) : PLB_NO_KEY;
    } else if (noise.data) {
        if (noise.dtype == PLB_F32)
            plb_noise_keys(plan, part, 0x7f800000u, keys);
        else if (noise.dtype == PLB_F64)
            plb_noise_keys(plan, part, 0x7ff0000000000000ull, keys);
        else
            plb_noise_keys(plan, part, (unsigned short)(noise.dtype == PLB_F16 ? 0x7c00 : 0x7f80), keys);
    } else if (part.which == PLB_RANK_PATCHES && plan.patch_mask != POSLABEL_PATCH_MASK_RANDOM) {
        plb_chosen_keys(plan, part, keys);
    } else {
        plb_word_keys(plan, part, keys);
    }
}

#endif
