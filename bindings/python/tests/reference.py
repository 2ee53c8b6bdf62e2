# SPDX-License-Identifier: Apache-2.0
"""What the operations compute, written once more from the formulas, in float64 NumPy and plain Python."""

import math

import numpy as np


def philox(seed, counter):
    """Philox4x32-10 of Salmon et al., SC 2011."""
    key = [seed & 0xFFFFFFFF, seed >> 32]
    c = list(counter)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ key[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ key[1], a & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return tuple(c)


def words(seed, sample, stream, step, count):
    """The first `count` words of a stream."""
    low, high = sample & 0xFFFFFFFF, stream + 256 * (sample >> 32)
    draws = [philox(seed, (low, draw, high, step)) for draw in range((count + 3) // 4)]
    return np.array(draws, np.int64).reshape(-1)[:count]


def below(word, n):
    return (int(word) * n) >> 32


def masks_of(order, keep):
    """ids_keep, ids_remove, ids_restore and mask of one image from the order of its tokens."""
    restore = np.argsort(order, kind="stable")
    return order[:keep], order[keep:], restore, restore >= keep


def random_masks(noise, ratio):
    keep = int(noise.shape[1] * (1 - ratio))
    rows = [masks_of(np.argsort(row, kind="stable"), keep) for row in noise]
    return [np.stack(part) for part in zip(*rows)]


def regular_masks(grid, seed, samples, step):
    h, w = grid
    rows = []
    for image in samples:
        cells = [(y, x) for y in range(0, h, 2) for x in range(0, w, 2)]
        draws = words(seed, image, 4, step, len(cells))
        keep = []
        for (y, x), word in zip(cells, draws):
            patches = [v * w + u for v in range(y, min(y + 2, h)) for u in range(x, min(x + 2, w))]
            keep.append(patches[below(word, len(patches))])
        rest = [n for n in range(h * w) if n not in keep]
        rows.append(masks_of(np.array(keep + rest), len(keep)))
    return [np.stack(part) for part in zip(*rows)]


def block_masks(grid, ratio, seed, samples, step):
    h, w = grid
    side = int(math.sqrt(h * w - int(ratio * h * w)))
    rows = []
    for image in samples:
        row, column = words(seed, image, 5, step, 2)
        y, x = below(row, h - side + 1), below(column, w - side + 1)
        keep = [v * w + u for v in range(y, y + side) for u in range(x, x + side)]
        rest = [n for n in range(h * w) if n not in keep]
        rows.append(masks_of(np.array(keep + rest), len(keep)))
    return [np.stack(part) for part in zip(*rows)]


def relative_labels(grid):
    h, w = grid
    y, x = np.divmod(np.arange(h * w), w)
    return (y[:, None] - y[None] + h - 1) * (2 * w - 1) + (x[:, None] - x[None] + w - 1)


def smoothing_map(grid, sigma, normalization):
    h, w = grid
    y, x = np.divmod(np.arange(h * w), w)
    square = (y[:, None] - y[None]) ** 2 + (x[:, None] - x[None]) ** 2
    if sigma == 0:
        return np.eye(h * w)
    gaussian = np.exp(-square / sigma**2)
    sums = gaussian.sum(1)
    return gaussian / (sums[:, None] if normalization == "row" else sums[None])


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(z):
    shifted = z - z.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def row_loss(logits, targets, labels, weights, reduction, upstream=1.0, normalizer=None):
    """Loss, gradient, accuracy and weight sum of rows with dense targets [R, C] and weights [R]."""
    z = logits.astype(np.float64).reshape(-1, logits.shape[-1])
    rows = -(targets * log_softmax(z)).sum(1)
    gradient = softmax(z) * targets.sum(1, keepdims=True) - targets
    total = weights.sum()
    scale = total if normalizer is None else normalizer
    inverse = 0.0 if scale == 0 else 1 / scale
    hits = (weights * (z.argmax(1) == labels)).sum() * inverse
    factor = weights * np.asarray(upstream, np.float64).reshape(-1)
    loss = weights * rows
    if reduction == "mean":
        loss, factor = loss.sum() * inverse, factor * inverse
    elif reduction == "sum":
        loss = loss.sum()
    else:
        loss = loss.reshape(logits.shape[:-1])
    return loss, (gradient * factor[:, None]).reshape(logits.shape), hits, total


def position_cross_entropy(logits, labels, weights, reduction="mean", smoothing=0.0, **rest):
    classes = logits.shape[-1]
    targets = np.full((labels.size, classes), smoothing / classes)
    targets[np.arange(labels.size), labels.reshape(-1)] += 1 - smoothing
    return row_loss(logits, targets, labels.reshape(-1), weights.reshape(-1), reduction, **rest)


def droppos_loss(logits, positions, grid, weights, sigma, normalization="row", conf=False, reduction="mean", **rest):
    labels = positions.reshape(-1)
    table = smoothing_map(grid, sigma, normalization)
    targets, weights = table[labels], weights.reshape(-1).astype(np.float64)
    if conf:
        p = softmax(logits.astype(np.float64)).reshape(-1, logits.shape[-1])[np.arange(labels.size), labels]
        weights = weights * (p < table[labels, labels])
    return row_loss(logits, targets, labels, weights, reduction, **rest)


def assemble_tokens(tokens, ids, lost, places=None, prefix=None, pos=None, mask_token=None):
    """`lost` [B, V] is -1 for a lost position, else whose embedding a token gets."""
    batch, _, channels = tokens.shape
    count = 0 if prefix is None else len(prefix)
    offset = 0 if pos is None else len(pos) - tokens.shape[1]
    x = np.zeros((batch, count + ids.shape[1], channels))
    for b in range(batch):
        for p in range(count):
            x[b, p] = prefix[p] + (pos[p] if p < offset else 0)
        for r, token in enumerate(ids[b]):
            place = r if places is None else places[b, r]
            if lost[b, r] >= 0:
                embedding = 0 if pos is None else pos[offset + lost[b, r]]
            else:
                embedding = 0 if mask_token is None else mask_token
            x[b, count + place] = tokens[b, token] + embedding
    return x


def assemble_tokens_backward(grad_x, count, prefix, ids, lost, places=None):
    batch, _, channels = grad_x.shape
    tokens = np.zeros((batch, count, channels))
    mask_token = np.zeros(channels)
    pos = np.zeros((prefix + count, channels))
    for b in range(batch):
        for r, token in enumerate(ids[b]):
            row = grad_x[b, prefix + (r if places is None else places[b, r])].astype(np.float64)
            tokens[b, token] += row
            if lost[b, r] < 0:
                mask_token += row
            else:
                pos[prefix + lost[b, r]] += row
    head = grad_x[:, :prefix].astype(np.float64).sum(0)
    pos[:prefix] = head
    return tokens, mask_token, head, pos


def attentive_weights(tokens, cls, pos=None, ids=None, temperature=0.1):
    t, c = tokens.astype(np.float64), np.broadcast_to(cls.astype(np.float64), (len(tokens), tokens.shape[-1]))
    if pos is not None:
        t, c = t + pos[-tokens.shape[1] :].astype(np.float64), c + pos[0].astype(np.float64)
    norm = np.maximum(np.linalg.norm(c, axis=-1), 1e-8)[:, None] * np.maximum(np.linalg.norm(t, axis=-1), 1e-8)
    attention = softmax(np.einsum("bd,bnd->bn", c, t) / norm / temperature)
    kept = attention if ids is None else np.take_along_axis(attention, ids, 1)
    return attention, kept / kept.sum(1, keepdims=True)
