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


def cell_pairs(grid, m, seed, samples, step):
    """Random pairs; all of them where m is None."""
    h, w = grid
    images = []
    for image in samples:
        draws = words(seed, image, 6, step, h * w if m is None else 4 * m)
        if m is None:
            images.append(np.stack((np.arange(h * w), np.argsort(draws, kind="stable")), 1))
        else:
            at = [below(word, grid[k % 2]) for k, word in enumerate(draws)]
            images.append(np.array(at, np.int64).reshape(m, 2, 2) @ np.array((w, 1)))
    return np.array(images, np.int64).reshape(len(samples), h * w if m is None else m, 2)


def cell_offsets(cells, grid, absolute, normalized):
    """float64."""
    a, b = (np.stack(np.divmod(cells[..., k].astype(np.int64), grid[1]), -1) for k in range(2))
    side = np.array(grid)
    offsets, most = (np.abs(a - b), side - 1) if absolute else (a - b + side - 1, 2 * (side - 1))
    return offsets / np.maximum(most, 1) if normalized else offsets.astype(np.float64)


def pair_features(features, cells):
    a, b = (np.take_along_axis(features, cells[..., k, None].astype(np.int64), 1) for k in range(2))
    return np.concatenate((a, b), -1)


def pair_features_backward(grad, cells, count):
    """float64."""
    batch, m, both = grad.shape
    result = np.zeros((batch, count, both // 2))
    halves = grad.astype(np.float64).reshape(batch, m, 2, both // 2)
    for b in range(batch):
        for k in range(2 * m):
            result[b, cells[b, k // 2, k % 2]] += halves[b, k // 2, k % 2]
    return result


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


def gelu(u, how):
    """An activation and its slope."""
    if how == "relu":
        return np.maximum(u, 0), (u > 0).astype(np.float64)
    if how == "gelu":
        below = 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(u / math.sqrt(2)))
        return u * below, below + u * np.exp(-0.5 * u * u) / math.sqrt(2 * math.pi)
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (u + 0.044715 * u**3))
    return 0.5 * u * (1 + t), 0.5 * (1 + t) + 0.5 * u * (1 - t * t) * c * (1 + 3 * 0.044715 * u * u)


def mlp_position_loss(x, layers, how, labels, weights, reduction, smoothing=0.0, **rest):
    """The loss of a head on rows x [R, D], and the gradients of x and of each (weight, bias); absent layers are None."""
    inputs, slope = [x], None
    for i, (weight, bias) in enumerate(layers):
        z = inputs[-1]
        if weight is not None:
            z = z @ weight.T + bias
        if i == 0:
            z, slope = gelu(z, how)
        inputs.append(z)
    loss, grad, *_ = position_cross_entropy(inputs[-1], labels, weights, reduction, smoothing, **rest)
    gradients = []
    for i, (weight, bias) in reversed(list(enumerate(layers))):
        if i == 0:
            grad = grad * slope
        if weight is not None:
            gradients = [grad.T @ inputs[i], grad.sum(0), *gradients]
            grad = grad @ weight
    return loss, grad, gradients


def droppos_loss(logits, positions, grid, weights, sigma, normalization="row", conf=False, reduction="mean", **rest):
    labels = positions.reshape(-1)
    table = smoothing_map(grid, sigma, normalization)
    targets, weights = table[labels], weights.reshape(-1).astype(np.float64)
    if conf:
        p = softmax(logits.astype(np.float64)).reshape(-1, logits.shape[-1])[np.arange(labels.size), labels]
        weights = weights * (p < table[labels, labels])
    return row_loss(logits, targets, labels, weights, reduction, **rest)


def regression(difference, kind, beta):
    """Losses of rows [..., n] of differences, and their gradients."""
    size, n = np.abs(difference), difference.shape[-1]
    if kind == "mse":
        losses, slopes = difference**2, 2 * difference
    elif kind == "l1":
        losses, slopes = size, np.sign(difference)
    else:
        losses = np.where(size < beta, difference**2 / (2 * beta), size - beta / 2)
        slopes = np.where(size < beta, difference / beta, np.sign(difference))
    return losses.mean(-1), slopes / n


def axis_loss(z, targets, kind):
    """Losses [R] and gradients [R, n] of one axis; z in float64."""
    rows, c = np.arange(len(z)), np.arange(z.shape[1])
    b = softmax(z)
    if kind == "cross_entropy":
        return -log_softmax(z)[rows, targets], b - (c == targets[:, None])
    # Around the likeliest class: where that is nearly certain, the variance is nothing beside the square of its number.
    around = c - z.argmax(1)[:, None]
    m = (around * b).sum(1, keepdims=True)
    d = around - m
    variance = (d**2 * b).sum(1, keepdims=True)
    v, off = variance + 1e-8, z.argmax(1)[:, None] - targets[:, None] + m
    by_mu, by_v = 2 * off / v, 0.001 / v - off**2 / v**2
    return (off**2 / v + 0.001 * np.log(v))[:, 0], b * (by_mu * d + by_v * (d**2 - variance))


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


def decoder_tokens(x, restore, prefix=0, mask_token=None, pos=None):
    """float64, as are x and the parameters; the first rows of `pos` are those of the prefix."""
    batch, rows, channels = x.shape
    out = np.zeros((batch, prefix + restore.shape[1], channels))
    out[:, :prefix] = x[:, :prefix]
    for b in range(batch):
        for n, i in enumerate(restore[b]):
            if prefix + i < rows:
                out[b, prefix + n] = x[b, prefix + i]
            elif mask_token is not None:
                out[b, prefix + n] = mask_token
    if pos is not None:
        embedded = len(pos) - restore.shape[1]
        out[:, :embedded] += pos[:embedded]
        out[:, prefix:] += pos[embedded:]
    return out


def decoder_tokens_backward(grad_out, restore, prefix, visible, embedded):
    grad_out = grad_out.astype(np.float64)
    batch, _, channels = grad_out.shape
    x = np.zeros((batch, prefix + visible, channels))
    mask_token = np.zeros(channels)
    x[:, :prefix] = grad_out[:, :prefix]
    for b in range(batch):
        for n, i in enumerate(restore[b]):
            if i < visible:
                x[b, prefix + i] += grad_out[b, prefix + n]
            else:
                mask_token += grad_out[b, prefix + n]
    sums = grad_out.sum(0)
    return x, mask_token, np.concatenate((sums[:embedded], sums[prefix:]))


def attentive_weights(tokens, cls, pos=None, ids=None, temperature=0.1):
    t, c = tokens.astype(np.float64), np.broadcast_to(cls.astype(np.float64), (len(tokens), tokens.shape[-1]))
    if pos is not None:
        t, c = t + pos[-tokens.shape[1] :].astype(np.float64), c + pos[0].astype(np.float64)
    norm = np.maximum(np.linalg.norm(c, axis=-1), 1e-8)[:, None] * np.maximum(np.linalg.norm(t, axis=-1), 1e-8)
    attention = softmax(np.einsum("bd,bnd->bn", c, t) / norm / temperature)
    kept = attention if ids is None else np.take_along_axis(attention, ids, 1)
    return attention, kept / kept.sum(1, keepdims=True)
