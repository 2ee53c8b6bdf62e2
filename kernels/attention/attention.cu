/*
 * Attentive weights.
 *
 * One launch has a block for each image.  It reads the tokens once, for their products with the class token and for
 * their lengths.  The two softmaxes need one number a token, which stays in shared memory if it fits, else in the
 * workspace.  If there are too few images for the device, several blocks share an image, and the softmaxes are a second
 * launch.
 *
 * A warp loads four tokens at a time.  A lane sums 32 numbers in float32; sums of these sums are in double precision.
 * The order is always the same, so that the similarity of a token does not depend on how the work is divided.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "attention.h"
#include "core/grid.cuh"
#include "core/pieces.cuh"

#include <math.h>

enum {
    ATTENTION_THREADS = 256,
    WARPS = ATTENTION_THREADS / 32,
    TOKENS_AT_ONCE = 4,
    SHARED_BYTES = 16384, /* the most for the class token, and the most for the similarities */
    SIMILARITIES = 1,     /* phases */
    SOFTMAX = 2
};

#define SIMILARITY_EPS 1e-8 /* the least length in a similarity */

struct attention_run {
    plb_images features, cls, pos_embed, ids_keep, attention, weights;
    long long tokens, visible; /* of an image */
    long long embedding_row;   /* of the first token in pos_embed */
    long long channels, pieces;
    bool has_columns; /* the channels of tokens lie apart, */
    long long column; /* by so many bytes                  */
    double temperature;
    int phases, parts;   /* blocks to an image */
    long long cls_bytes; /* of the class token in shared memory; 0: it is in the workspace */
    long long cls_pitch;
    char *cls_memory;
    double *similarity; /* [images, tokens], or NULL: in shared memory */
    plb_device_state *state;
};

/*
 * The place of element i of a piece of the class token.  The numbers there are wider than elements of 16 bits, so that
 * a piece has several parts of 16 bytes.  These are stored so that neighbouring lanes read neighbouring parts.
 */
template <int DTYPE> PLB_DEVICE long long cls_place(const attention_run &run, long long piece, int i)
{
    constexpr int quad = PLB_PIECE / (int)sizeof(typename plb_kind<DTYPE>::number);
    return (i / quad * run.pieces + piece) * quad + i % quad;
}

/* Such a part, in one load: the numbers of a piece from element i on. */
template <int DTYPE> struct cls_quad {
    typedef typename plb_kind<DTYPE>::number number;
    enum { COUNT = PLB_PIECE / sizeof(number), NUMBERS = sizeof(number) == 8 ? PLB_F64 : PLB_F32 };
    plb_piece numbers;
    PLB_DEVICE cls_quad(const attention_run &run, const number *c, long long piece, int i)
        : numbers(plb_load_whole((const char *)(c + cls_place<DTYPE>(run, piece, i))))
    {
    }
    PLB_DEVICE number operator[](int i) const
    {
        return plb_number_at<NUMBERS>(numbers, i);
    }
};

template <int DTYPE, bool ALIGNED>
PLB_DEVICE plb_piece load_piece(const attention_run &run, const char *row, long long piece)
{
    constexpr int size = plb_kind<DTYPE>::size, count = PLB_PIECE / size;
    const long long left = run.channels - piece * count;
    if (ALIGNED)
        return plb_load_whole(row + piece * PLB_PIECE);
    return plb_load_part<size>(row + piece * PLB_PIECE, 0, left < count ? (int)left : count);
}

/* c = cls + embedding, with zeros after its end.  All threads of a block call this. */
template <int DTYPE, bool ALIGNED>
PLB_DEVICE void read_cls(const attention_run &run, long long image, typename plb_kind<DTYPE>::number *c)
{
    constexpr int count = PLB_PIECE / plb_kind<DTYPE>::size;
    const char *const cls = plb_image_row(run.cls, image, 0);
    for (long long piece = threadIdx.x; piece < run.pieces; piece += ATTENTION_THREADS) {
        const plb_piece token = load_piece<DTYPE, ALIGNED>(run, cls, piece);
        plb_piece embedding = {{0, 0, 0, 0}};
        if (run.pos_embed.data)
            embedding = load_piece<DTYPE, ALIGNED>(run, run.pos_embed.data, piece);
#pragma unroll
        for (int i = 0; i < count; i++)
            c[cls_place<DTYPE>(run, piece, i)] = plb_number_at<DTYPE>(token, i) + plb_number_at<DTYPE>(embedding, i);
    }
}

/* The length of c.  Each warp computes it, with sums in the same order as for tokens. */
template <int DTYPE> PLB_DEVICE double cls_length(const attention_run &run, const typename plb_kind<DTYPE>::number *c)
{
    typedef typename plb_kind<DTYPE>::number number;
    constexpr int count = PLB_PIECE / plb_kind<DTYPE>::size, batch = 32 / count;
    double sum = 0;
    for (long long first = threadIdx.x % 32; first < run.pieces; first += batch * 32) {
        number square = 0;
        for (long long piece = first; piece < run.pieces && piece < first + batch * 32; piece += 32)
#pragma unroll
            for (int i = 0; i < count; i += cls_quad<DTYPE>::COUNT) {
                const cls_quad<DTYPE> quad(run, c, piece, i);
#pragma unroll
                for (int j = 0; j < cls_quad<DTYPE>::COUNT; j++)
                    square += quad[j] * quad[j];
            }
        sum += (double)square;
    }
    const double length = sqrt(plb_warp_sum(sum));
    return length < SIMILARITY_EPS ? SIMILARITY_EPS : length;
}

/*
 * Adds up eight numbers of each lane over all lanes: lanes 4 i to 4 i + 3 get the sum of number i.  In each of the
 * first three steps a lane exchanges half of its numbers, so that nine shuffles are enough, not forty.
 */
PLB_DEVICE double add_lanes(double *numbers)
{
    const int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int stay = 4, bit = 16; stay > 0; stay /= 2, bit /= 2)
#pragma unroll
        for (int i = 0; i < stay; i++) {
            const double given = lane & bit ? numbers[i] : numbers[i + stay];
            const double kept = lane & bit ? numbers[i + stay] : numbers[i];
            numbers[i] = kept + __shfl_xor_sync(0xffffffffu, given, bit);
        }
    double sum = numbers[0] + __shfl_xor_sync(0xffffffffu, numbers[0], 2);
    return sum + __shfl_xor_sync(0xffffffffu, sum, 1);
}

/* The similarities of tokens first to first + 3 of an image that are before `last`.  All lanes of a warp call this. */
template <int DTYPE, bool ALIGNED>
PLB_DEVICE void weigh_tokens(const attention_run &run, long long image, long long first, long long last,
                             const typename plb_kind<DTYPE>::number *c, double length, double *similarity)
{
    typedef typename plb_kind<DTYPE>::number number;
    constexpr int count = PLB_PIECE / plb_kind<DTYPE>::size, batch = 32 / count;
    const int lane = (int)threadIdx.x % 32;
    const char *row[TOKENS_AT_ONCE], *embedding[TOKENS_AT_ONCE];
    double sums[2 * TOKENS_AT_ONCE]; /* product and square of each */
#pragma unroll
    for (int t = 0; t < TOKENS_AT_ONCE; t++) {
        const long long n = first + t < last ? first + t : last - 1;
        row[t] = plb_image_row(run.features, image, n);
        embedding[t] = plb_image_row(run.pos_embed, 0, run.embedding_row + n);
        sums[2 * t] = sums[2 * t + 1] = 0;
    }
    for (long long begin = lane; begin < run.pieces; begin += batch * 32) {
        number product[TOKENS_AT_ONCE] = {}, square[TOKENS_AT_ONCE] = {};
        for (long long piece = begin; piece < run.pieces && piece < begin + batch * 32; piece += 32) {
            plb_piece token[TOKENS_AT_ONCE], added[TOKENS_AT_ONCE] = {};
#pragma unroll
            for (int t = 0; t < TOKENS_AT_ONCE; t++) {
                token[t] = load_piece<DTYPE, ALIGNED>(run, row[t], piece);
                if (run.pos_embed.data)
                    added[t] = load_piece<DTYPE, ALIGNED>(run, embedding[t], piece);
            }
#pragma unroll
            for (int i = 0; i < count; i += cls_quad<DTYPE>::COUNT) {
                const cls_quad<DTYPE> factors(run, c, piece, i);
#pragma unroll
                for (int j = 0; j < cls_quad<DTYPE>::COUNT; j++)
#pragma unroll
                    for (int t = 0; t < TOKENS_AT_ONCE; t++) {
                        const number x = plb_number_at<DTYPE>(token[t], i + j) + plb_number_at<DTYPE>(added[t], i + j);
                        product[t] += factors[j] * x;
                        square[t] += x * x;
                    }
            }
        }
#pragma unroll
        for (int t = 0; t < TOKENS_AT_ONCE; t++) {
            sums[2 * t] += (double)product[t];
            sums[2 * t + 1] += (double)square[t];
        }
    }
    const double sum = add_lanes(sums), square = __shfl_xor_sync(0xffffffffu, sum, 4);
    const double token_length = sqrt(square);
    if (lane % 8 == 0 && first + lane / 8 < last)
        similarity[first + lane / 8] = sum / (length * (token_length < SIMILARITY_EPS ? SIMILARITY_EPS : token_length));
}

/*
 * The similarities of tokens [first, last) whose channels lie apart: a thread has a token, so that neighbouring lanes
 * read neighbouring tokens.  All threads of a block call this.
 */
template <int DTYPE>
PLB_DEVICE void weigh_columns(const attention_run &run, long long image, long long first, long long last,
                              const typename plb_kind<DTYPE>::number *c, double length, double *similarity)
{
    typedef typename plb_kind<DTYPE>::number number;
    constexpr int size = plb_kind<DTYPE>::size, count = PLB_PIECE / size;
    for (long long n = first + threadIdx.x; n < last; n += ATTENTION_THREADS) {
        const char *const token = plb_image_row(run.features, image, n);
        const char *const embedding = plb_image_row(run.pos_embed, 0, run.embedding_row + n);
        double product = 0, square = 0;
        for (long long begin = 0; begin < run.channels; begin += 32) {
            number products = 0, squares = 0;
            for (long long i = begin; i < run.channels && i < begin + 32; i++) {
                number x = (number)plb_load_number(token + i * run.column, DTYPE);
                if (run.pos_embed.data)
                    x += (number)plb_load_number(embedding + i * size, DTYPE);
                products += c[cls_place<DTYPE>(run, i / count, (int)(i % count))] * x;
                squares += x * x;
            }
            product += (double)products;
            square += (double)squares;
        }
        const double token_length = sqrt(square);
        similarity[n] = product / (length * (token_length < SIMILARITY_EPS ? SIMILARITY_EPS : token_length));
    }
}

/* ---- softmax ---- */

PLB_DEVICE double similarity_at(const attention_run &run, const plb_images &ids, long long image, long long r,
                                const double *similarity, bool report)
{
    if (!ids.data)
        return similarity[r];
    const long long id = plb_load_id(plb_image_row(ids, image, r), ids.dtype);
    const long long inside = id < 0 ? 0 : id < run.tokens ? id : run.tokens - 1;
    if (report && inside != id)
        plb_found(run.state, PLB_FOUND_IDS_KEEP, image * run.visible + r);
    return similarity[inside];
}

/* to[r] = softmax over r of similarity[id(r)] / temperature, with id(r) = r without ids.  A block calls this. */
PLB_DEVICE void store_softmax(const attention_run &run, const plb_images &to, const plb_images &ids, long long count,
                              long long image, const double *similarity, double *partial)
{
    double max = -INFINITY, sum = 0;
    for (long long r = threadIdx.x; r < count; r += ATTENTION_THREADS)
        max = fmax(max, similarity_at(run, ids, image, r, similarity, true));
    max = plb_block_highest(max, partial);
    for (long long r = threadIdx.x; r < count; r += ATTENTION_THREADS)
        sum += exp((similarity_at(run, ids, image, r, similarity, false) - max) / run.temperature);
    sum = plb_block_sum(sum, partial);
    for (long long r = threadIdx.x; r < count; r += ATTENTION_THREADS) {
        const double s = similarity_at(run, ids, image, r, similarity, false);
        plb_store_number(plb_image_row(to, image, r), to.dtype, exp((s - max) / run.temperature) / sum);
    }
}

template <int DTYPE, bool ALIGNED>
__global__ void __launch_bounds__(ATTENTION_THREADS) weigh_images(const attention_run run)
{
    typedef typename plb_kind<DTYPE>::number number;
    PLB_SHARED_BYTES(memory);
    PLB_SHARED(double, partial, WARPS);
    const long long image = blockIdx.x / (unsigned)run.parts;
    const int part = (int)(blockIdx.x % (unsigned)run.parts), warp = (int)threadIdx.x / 32;
    double *const similarity =
        run.similarity ? run.similarity + image * run.tokens : (double *)(memory + run.cls_bytes);
    if (run.phases & SIMILARITIES) {
        number *const c = (number *)(run.cls_bytes ? (char *)memory : run.cls_memory + image * run.cls_pitch);
        const long long first = run.tokens * part / run.parts, last = run.tokens * (part + 1) / run.parts;
        read_cls<DTYPE, ALIGNED>(run, image, c);
        PLB_BARRIER(); /* the class token is complete */
        const double length = cls_length<DTYPE>(run, c);
        if (run.has_columns)
            weigh_columns<DTYPE>(run, image, first, last, c, length, similarity);
        else
            for (long long n = first + warp * TOKENS_AT_ONCE; n < last; n += WARPS * TOKENS_AT_ONCE)
                weigh_tokens<DTYPE, ALIGNED>(run, image, n, last, c, length, similarity);
    }
    if (!(run.phases & SOFTMAX))
        return;
    PLB_BARRIER(); /* all similarities are stored */
    if (run.attention.data)
        store_softmax(run, run.attention, plb_images{NULL, 0, 0, 0}, run.tokens, image, similarity, partial);
    if (run.weights.data)
        store_softmax(run, run.weights, run.ids_keep, run.visible, image, similarity, partial);
}

/* Blocks to an image, of at least 32 tokens each: in all about four for each multiprocessor. */
static int parts_for(const plb_cuda *cuda, const plb_attention_job *job)
{
    const int64_t blocks = 4 * (int64_t)cuda->multiprocessors;
    if (job->images >= blocks || job->images == 0)
        return 1;
    const int64_t wanted = (blocks + job->images - 1) / job->images;
    const int64_t fitting = (job->tokens + 31) / 32;
    return (int)(wanted < fitting ? wanted : fitting);
}

poslabel_status plb_cuda_attentive_weights(const plb_call *call, const plb_attention_job *job)
{
    static void (*const kernels[PLB_F64 + 1][2])(attention_run) = {
        {weigh_images<PLB_F32, false>, weigh_images<PLB_F32, true>},
        {weigh_images<PLB_F16, false>, weigh_images<PLB_F16, true>},
        {weigh_images<PLB_BF16, false>, weigh_images<PLB_BF16, true>},
        {weigh_images<PLB_F64, false>, weigh_images<PLB_F64, true>},
    };
    const int size = plb_dtype_bytes(job->features.dtype);
    attention_run run = {};
    run.features = plb_images_of(&job->features, job->tokens);
    run.cls = plb_images_of(&job->cls, job->cls.count == job->images ? 1 : 0);
    run.pos_embed = plb_images_of(&job->pos_embed, 0);
    run.ids_keep = plb_image_elements_of(&job->ids_keep);
    run.attention = plb_image_elements_of(&job->attention);
    run.weights = plb_image_elements_of(&job->weights);
    run.tokens = job->tokens;
    run.visible = job->visible;
    run.embedding_row = job->pos_embed.count - job->tokens;
    run.channels = job->channels;
    run.pieces = plb_pieces_in(job->channels, size);
    run.has_columns = job->features.element_stride != 1;
    run.column = job->features.element_stride * size;
    run.temperature = job->temperature;
    run.state = plb_cuda_of(call)->state;

    /* The class token is in float32 or float64. */
    run.cls_pitch = run.pieces * (size == 2 ? 2 * PLB_PIECE : PLB_PIECE);
    const bool cls_fits = run.cls_pitch <= SHARED_BYTES;
    run.cls_bytes = cls_fits ? run.cls_pitch : 0;
    run.parts = cls_fits ? parts_for(plb_cuda_of(call), job) : 1;
    const size_t images = (size_t)job->images, numbers = plb_size_mul((size_t)job->tokens, sizeof(double));
    const bool numbers_fit = run.parts == 1 && numbers <= SHARED_BYTES;
    const size_t similarities = numbers_fit ? 0 : plb_size_mul(images, numbers);
    const size_t classes = cls_fits ? 0 : plb_size_mul(images, (size_t)run.cls_pitch);
    void *memory;
    PLB_TRY(plb_cuda_workspace(call, plb_size_add(similarities, classes), &memory));
    run.cls_memory = (char *)memory;
    run.similarity = numbers_fit ? NULL : (double *)((char *)memory + classes);

    const bool aligned = job->channels * size % PLB_PIECE == 0 && plb_images_are_aligned(&run.features) &&
                         plb_images_are_aligned(&run.cls) && plb_images_are_aligned(&run.pos_embed);
    void (*const kernel)(attention_run) = kernels[job->features.dtype][aligned];
    const size_t shared = (size_t)run.cls_bytes + (numbers_fit ? numbers : 0);
    run.phases = run.parts == 1 ? SIMILARITIES | SOFTMAX : SIMILARITIES;
    PLB_TRY(plb_launch(call, PLB_INDEPENDENT, kernel, job->images * run.parts, ATTENTION_THREADS, shared, run));
    if (run.parts == 1)
        return POSLABEL_OK;
    run.phases = SOFTMAX;
    run.parts = 1;
    return plb_launch(call, PLB_INDEPENDENT, kernel, job->images, ATTENTION_THREADS, 0, run);
}
