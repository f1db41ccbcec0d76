"""Sums over all pairs of images and texts, in tiles: memory grows linearly with the batch.

The losses need only sums along the rows and columns of the [b, n] matrix of logits. These are computed tile by tile,
and the tiles are computed again for the gradient, as in Cheng et al. 2024 (arXiv 2410.17243). One pass over the tiles
serves images and texts, so that a step costs four matrix products of b · n · d instead of the six of the plain loss.

Each of several ranks has b of the n = ranks · b pairs. It compares its images with all texts, and the sums of columns
are completed across ranks. All ranks must bring equally many pairs. Gradients are those of the sum of the losses of all
ranks, as in the all-gather of torch; averaging over ranks (DDP, FSDP) makes that the mean.

Shape suffixes: b images or texts of this rank, n those of all ranks, d vector dimensions, g groups.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import distributed
from torch.nn import functional as F

from linnaea.train.distributed.collectives import (
    all_gather,
    all_gather_with_grad,
    count_ranks,
    reduce_scatter,
    slice_own,
)

# A tile of 4 MB in float32 is about as large as a processor cache, and large enough for fast matrix products.
TILE = 1024


def _split_range(n: int, tile: int) -> Iterator[slice]:
    return (slice(start, min(start + tile, n)) for start in range(0, n, tile))


def _widen(dtype: torch.dtype) -> torch.dtype:
    """Return the type of accumulated sums: at least float32."""
    return torch.promote_types(dtype, torch.float32)


def _iterate_tiles(image_bd, text_nd, scale, tile: int) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Yield the rows, columns and logits of each tile. The caller may overwrite the logits."""
    for rows in _split_range(len(image_bd), tile):
        scaled = image_bd[rows] * scale
        for columns in _split_range(len(text_nd), tile):
            yield rows, columns, (scaled @ text_nd[columns].T).to(_widen(image_bd.dtype))


def _combine_log_sums(partial_n: torch.Tensor, group) -> torch.Tensor:
    """Combine the log-sums [n] of all ranks: log Σ exp over ranks."""
    if count_ranks(group) == 1:
        return partial_n
    top_n = partial_n.clone()
    distributed.all_reduce(top_n, distributed.ReduceOp.MAX, group=group)
    sum_n = (partial_n - top_n).exp()
    distributed.all_reduce(sum_n, group=group)
    return top_n + sum_n.log()


def _compute_log_sums(image_bd, text_nd, scale, tile, group) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute log Σ exp of the logits along rows [b] and, over the images of all ranks, along columns [n]."""
    dtype = _widen(image_bd.dtype)
    row_b = torch.full((len(image_bd),), -torch.inf, dtype=dtype, device=image_bd.device)
    column_n = torch.full((len(text_nd),), -torch.inf, dtype=dtype, device=image_bd.device)
    for rows, columns, logits in _iterate_tiles(image_bd, text_nd, scale, tile):
        row_b[rows] = torch.logaddexp(row_b[rows], logits.logsumexp(1))
        column_n[columns] = torch.logaddexp(column_n[columns], logits.logsumexp(0))
    return row_b, _combine_log_sums(column_n, group)


class _Gradients:
    """Accumulates the gradients of images and texts from the gradient of each tile of cosines."""

    def __init__(self, image_bd, text_nd):
        self.image_bd, self.text_nd = image_bd, text_nd
        self.grad_image_bd = torch.zeros_like(image_bd, dtype=_widen(image_bd.dtype))
        self.grad_text_nd = torch.zeros_like(text_nd, dtype=_widen(text_nd.dtype))

    def add(self, rows: slice, columns: slice, grad: torch.Tensor) -> None:
        to_images = (self.grad_image_bd[rows], grad, self.text_nd[columns])
        to_texts = (self.grad_text_nd[columns], grad.T, self.image_bd[rows])
        for total, left, right in (to_images, to_texts):
            if total.dtype == right.dtype:
                total.addmm_(left, right)
            else:
                total += left.to(right.dtype) @ right

    def finish(self, scale, group):
        """Return the gradients of own images, own texts and the scale (the share of this rank)."""
        grad_scale = (self.grad_image_bd * self.image_bd).sum().to(scale.dtype)
        wide = scale.to(self.grad_image_bd.dtype)
        grad_image = (self.grad_image_bd.mul_(wide)).to(self.image_bd.dtype)
        grad_text = reduce_scatter(self.grad_text_nd.mul_(wide), group).to(self.text_nd.dtype)
        return grad_image, grad_text, grad_scale


def _softmax_gradients(vectors, logits_of, tile, sums, grads) -> _Gradients:
    """Gradients of log-sums: the softmax of the logits of `logits_of` along rows and columns, weighted by `grads`.

    `vectors` and `logits_of` are (images, texts, …). They are the same for a loss on its own logits, and differ where
    the softmax is that of a teacher. `sums` and `grads` are the log-sums and their gradients for (rows, columns).
    """
    (row_b, column_n), (grad_row_b, grad_column_n) = sums, grads
    gradients = _Gradients(*vectors)
    for rows, columns, logits in _iterate_tiles(*logits_of, tile):
        grad = (logits - row_b[rows, None]).exp_().mul_(grad_row_b[rows, None])
        grad += logits.sub_(column_n[columns]).exp_().mul_(grad_column_n[columns])
        gradients.add(rows, columns, grad)
    return gradients


class _LogSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image_bd, text_bd, scale, tile, group):
        text_nd = all_gather(text_bd, group)
        row_b, column_n = _compute_log_sums(image_bd, text_nd, scale, tile, group)
        ctx.save_for_backward(image_bd, text_nd, scale, row_b, column_n)
        ctx.tile, ctx.group = tile, group
        return row_b, slice_own(column_n, group).clone()

    @staticmethod
    def backward(ctx, grad_row_b, grad_column_b):
        image_bd, text_nd, scale, row_b, column_n = ctx.saved_tensors
        grads = (grad_row_b, all_gather(grad_column_b.contiguous(), ctx.group))
        logits_of = (image_bd, text_nd, scale)
        gradients = _softmax_gradients((image_bd, text_nd), logits_of, ctx.tile, (row_b, column_n), grads)
        return *gradients.finish(scale, ctx.group), None, None


def log_sums(
    image_bd: torch.Tensor, text_bd: torch.Tensor, scale: torch.Tensor, *, tile: int = TILE, group=None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute log Σ exp of the logits of each own image with all texts [b], and of each own text with all images [b].

    A logit is `scale` times the product of two vectors. Differentiable in images, texts and scale. Products are
    computed in the precision of the vectors, sums in float32 or better.
    """
    with torch.autocast(image_bd.device.type, enabled=False):
        return _LogSums.apply(image_bd, text_bd.to(image_bd.dtype), scale, tile, group)


class _Softplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image_bd, text_bd, scale, bias, tile, group):
        text_nd = all_gather(text_bd, group)
        sum_b = torch.zeros(len(image_bd), dtype=_widen(image_bd.dtype), device=image_bd.device)
        for rows, _, logits in _iterate_tiles(image_bd, text_nd, scale, tile):
            sum_b[rows] += F.softplus(logits.add_(bias)).sum(1)
        ctx.save_for_backward(image_bd, text_nd, scale, bias)
        ctx.tile, ctx.group = tile, group
        return sum_b

    @staticmethod
    def backward(ctx, grad_b):
        image_bd, text_nd, scale, bias = ctx.saved_tensors
        sums, grad_bias = _Gradients(image_bd, text_nd), torch.zeros_like(bias)
        for rows, columns, logits in _iterate_tiles(image_bd, text_nd, scale, ctx.tile):
            grad = logits.add_(bias).sigmoid_().mul_(grad_b[rows, None])
            grad_bias += grad.sum()
            sums.add(rows, columns, grad)
        return *sums.finish(scale, ctx.group), grad_bias, None, None


def softplus_sums(
    image_bd: torch.Tensor,
    text_bd: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    *,
    tile: int = TILE,
    group=None,
) -> torch.Tensor:
    """Compute Σ log(1 + exp logit) of each own image over all texts [b]; a logit is scale · product + `bias`."""
    with torch.autocast(image_bd.device.type, enabled=False):
        return _Softplus.apply(image_bd, text_bd.to(image_bd.dtype), scale, bias, tile, group)


class _Expected(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image_bd, text_bd, teacher_image_bd, teacher_text_bd, teacher_scale, tile, group):
        text_nd, teacher_nd = all_gather(text_bd, group), all_gather(teacher_text_bd, group)
        teacher = (teacher_image_bd, teacher_nd, teacher_scale)
        row_b, column_n = _compute_log_sums(*teacher, tile, group)
        mean_b, mean_n = torch.zeros_like(row_b), torch.zeros_like(column_n)
        for rows, columns, logits in _iterate_tiles(*teacher, tile):
            cosine = (image_bd[rows] @ text_nd[columns].T).to(row_b.dtype)
            mean_b[rows] += ((logits - row_b[rows, None]).exp_() * cosine).sum(1)
            mean_n[columns] += (logits.sub_(column_n[columns]).exp_() * cosine).sum(0)
        ctx.save_for_backward(image_bd, text_nd, *teacher, row_b, column_n)
        ctx.tile, ctx.group = tile, group
        return mean_b, reduce_scatter(mean_n, group)

    @staticmethod
    def backward(ctx, grad_row_b, grad_column_b):
        image_bd, text_nd, *teacher, row_b, column_n = ctx.saved_tensors
        grads = (grad_row_b, all_gather(grad_column_b.contiguous(), ctx.group))
        gradients = _softmax_gradients((image_bd, text_nd), teacher, ctx.tile, (row_b, column_n), grads)
        grad_image, grad_text, _ = gradients.finish(torch.ones((), device=row_b.device), ctx.group)
        return grad_image, grad_text, None, None, None, None, None


def expected_cosines(
    image_bd: torch.Tensor,
    text_bd: torch.Tensor,
    teacher_image_bd: torch.Tensor,
    teacher_text_bd: torch.Tensor,
    teacher_scale: torch.Tensor,
    *,
    tile: int = TILE,
    group=None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Average the products of each own image with all texts [b], and of each own text with all images [b].

    The weights are the softmax of a teacher, whose vectors may have another width. The teacher gets no gradient.
    """
    with torch.autocast(image_bd.device.type, enabled=False):
        teacher_text_bd = teacher_text_bd.to(teacher_image_bd.dtype)
        teacher = (part.detach() for part in (teacher_image_bd, teacher_text_bd, teacher_scale))
        return _Expected.apply(image_bd, text_bd.to(image_bd.dtype), *teacher, tile, group)


def group_means(vector_bd: torch.Tensor, group_b: torch.Tensor, *, group=None) -> torch.Tensor:
    """Return for each own row the mean [b, d] of the rows of all ranks with the same group number.

    A row with a negative number is a group of its own. Memory is linear: rows are summed by group.
    """
    vector_nd, group_n = all_gather_with_grad(vector_bd, group), all_gather(group_b, group)
    n = len(group_n)
    alone_n = torch.where(group_n < 0, -1 - torch.arange(n, device=group_n.device), group_n)
    number_n = alone_n.unique(return_inverse=True)[1]
    sums_gd = vector_nd.new_zeros(vector_nd.shape, dtype=_widen(vector_nd.dtype)).index_add(
        0, number_n, vector_nd.to(_widen(vector_nd.dtype))
    )
    count_g = torch.bincount(number_n, minlength=n)
    own_b = slice_own(number_n, group)
    return sums_gd[own_b] / count_g[own_b, None]
