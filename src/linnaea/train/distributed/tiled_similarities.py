"""Sums over all pairs of images and texts, in tiles: memory grows with the batch, not with its square.

Every loss here needs of the [b, n] matrix of logits only sums along its rows and columns. They are taken tile by tile
and the tiles are computed again for the gradient, as in Cheng et al. 2024 (arXiv 2410.17243). One pass over the tiles
serves images and texts both, so a step costs four matrix products of b · n · d where the plain loss costs six.

On several ranks each has b of the n = ranks · b pairs: it meets its images with all texts, and the columns' sums are
completed across ranks. All ranks must bring equally many pairs. Gradients are those of the sum of all ranks' losses, as
torch's all-gather has it; what averages gradients over ranks (DDP, FSDP) makes that the mean.

Shape suffixes: b images or texts of this rank, n those of all ranks, d vector dimensions, g groups.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import distributed
from torch.nn import functional as F

# Tiles of 4 MB in float32 stay near a processor's cache and are large enough for its matrix product.
TILE = 1024


def n_ranks(group=None) -> int:
    """Processes in the group; 1 where torch.distributed is not in use."""
    return distributed.get_world_size(group) if distributed.is_available() and distributed.is_initialized() else 1


def rank_of(group=None) -> int:
    """This process's number in the group."""
    return distributed.get_rank(group) if n_ranks(group) > 1 else 0


def collective(name: str, before: str):
    """A collective operation of torch.distributed by its name since torch 2.13, or by the one that it had before."""
    return getattr(distributed, name, None) or getattr(distributed, before)


def gather(own: torch.Tensor, group=None) -> torch.Tensor:
    """The tensors of all ranks [n, ...], in the order of ranks. Without gradient."""
    if n_ranks(group) == 1:
        return own.detach()
    every = own.new_empty((n_ranks(group) * own.shape[0], *own.shape[1:]))
    collective("all_gather_single", "all_gather_into_tensor")(every, own.detach().contiguous(), group=group)
    return every


def reduce_scatter(every: torch.Tensor, group=None) -> torch.Tensor:
    """This rank's part [b, ...] of the sum over ranks of tensors [n, ...]."""
    if n_ranks(group) == 1:
        return every
    own = every.new_empty((every.shape[0] // n_ranks(group), *every.shape[1:]))
    collective("reduce_scatter_single", "reduce_scatter_tensor")(own, every.contiguous(), group=group)
    return own


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, own, group):
        ctx.group = group
        return gather(own, group)

    @staticmethod
    def backward(ctx, grad):
        return reduce_scatter(grad, ctx.group), None


def gather_with_grad(own: torch.Tensor, group=None) -> torch.Tensor:
    """`gather` through which gradients flow back, summed over ranks."""
    return own if n_ranks(group) == 1 else _Gather.apply(own, group)


def _parts(n: int, tile: int) -> Iterator[slice]:
    return (slice(start, min(start + tile, n)) for start in range(0, n, tile))


def _wide(dtype: torch.dtype) -> torch.dtype:
    """What sums are kept in: float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def _tiles(image_bd, text_nd, scale, tile: int) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Rows, columns and their logits, which the caller may overwrite."""
    for rows in _parts(len(image_bd), tile):
        scaled = image_bd[rows] * scale
        for columns in _parts(len(text_nd), tile):
            yield rows, columns, (scaled @ text_nd[columns].T).to(_wide(image_bd.dtype))


def _log_sums_across_ranks(partial_n: torch.Tensor, group) -> torch.Tensor:
    """log Σ exp over ranks of partial_n."""
    if n_ranks(group) == 1:
        return partial_n
    top_n = partial_n.clone()
    distributed.all_reduce(top_n, distributed.ReduceOp.MAX, group=group)
    sum_n = (partial_n - top_n).exp()
    distributed.all_reduce(sum_n, group=group)
    return top_n + sum_n.log()


def _own_part(every: torch.Tensor, group) -> torch.Tensor:
    b = every.shape[0] // n_ranks(group)
    return every[rank_of(group) * b : (rank_of(group) + 1) * b]


def _log_sums(image_bd, text_nd, scale, tile, group) -> tuple[torch.Tensor, torch.Tensor]:
    """log Σ exp of logits along rows [b] and, over the images of all ranks, along columns [n]."""
    dtype = _wide(image_bd.dtype)
    row_b = torch.full((len(image_bd),), -torch.inf, dtype=dtype, device=image_bd.device)
    column_n = torch.full((len(text_nd),), -torch.inf, dtype=dtype, device=image_bd.device)
    for rows, columns, logits in _tiles(image_bd, text_nd, scale, tile):
        row_b[rows] = torch.logaddexp(row_b[rows], logits.logsumexp(1))
        column_n[columns] = torch.logaddexp(column_n[columns], logits.logsumexp(0))
    return row_b, _log_sums_across_ranks(column_n, group)


class _Gradients:
    """Accumulates the gradient of images and texts from the gradient of each tile of cosines."""

    def __init__(self, image_bd, text_nd):
        self.image_bd, self.text_nd = image_bd, text_nd
        self.grad_image_bd = torch.zeros_like(image_bd, dtype=_wide(image_bd.dtype))
        self.grad_text_nd = torch.zeros_like(text_nd, dtype=_wide(text_nd.dtype))

    def add(self, rows: slice, columns: slice, grad: torch.Tensor) -> None:
        to_images = (self.grad_image_bd[rows], grad, self.text_nd[columns])
        to_texts = (self.grad_text_nd[columns], grad.T, self.image_bd[rows])
        for total, left, right in (to_images, to_texts):
            if total.dtype == right.dtype:
                total.addmm_(left, right)
            else:
                total += left.to(right.dtype) @ right

    def finish(self, scale, group):
        """Gradients of own images, own texts, and of the scale (this rank's share of it)."""
        grad_scale = (self.grad_image_bd * self.image_bd).sum().to(scale.dtype)
        wide = scale.to(self.grad_image_bd.dtype)
        grad_image = (self.grad_image_bd.mul_(wide)).to(self.image_bd.dtype)
        grad_text = reduce_scatter(self.grad_text_nd.mul_(wide), group).to(self.text_nd.dtype)
        return grad_image, grad_text, grad_scale


class _LogSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image_bd, text_bd, scale, tile, group):
        text_nd = gather(text_bd, group)
        row_b, column_n = _log_sums(image_bd, text_nd, scale, tile, group)
        ctx.save_for_backward(image_bd, text_nd, scale, row_b, column_n)
        ctx.tile, ctx.group = tile, group
        return row_b, _own_part(column_n, group).clone()

    @staticmethod
    def backward(ctx, grad_row_b, grad_column_b):
        image_bd, text_nd, scale, row_b, column_n = ctx.saved_tensors
        grad_column_n = gather(grad_column_b.contiguous(), ctx.group)
        sums = _Gradients(image_bd, text_nd)
        for rows, columns, logits in _tiles(image_bd, text_nd, scale, ctx.tile):
            grad = (logits - row_b[rows, None]).exp_().mul_(grad_row_b[rows, None])
            grad += logits.sub_(column_n[columns]).exp_().mul_(grad_column_n[columns])
            sums.add(rows, columns, grad)
        return *sums.finish(scale, ctx.group), None, None


def log_sums(
    image_bd: torch.Tensor, text_bd: torch.Tensor, scale: torch.Tensor, *, tile: int = TILE, group=None
) -> tuple[torch.Tensor, torch.Tensor]:
    """log Σ exp of each own image's logits with all texts [b], and of each own text's with all images [b].

    A logit is `scale` times the product of two vectors. Differentiable in images, texts and scale. Products are taken
    in the vectors' own precision, sums in float32 or better.
    """
    with torch.autocast(image_bd.device.type, enabled=False):
        return _LogSums.apply(image_bd, text_bd.to(image_bd.dtype), scale, tile, group)


class _Softplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image_bd, text_bd, scale, bias, tile, group):
        text_nd = gather(text_bd, group)
        sum_b = torch.zeros(len(image_bd), dtype=_wide(image_bd.dtype), device=image_bd.device)
        for rows, _, logits in _tiles(image_bd, text_nd, scale, tile):
            sum_b[rows] += F.softplus(logits.add_(bias)).sum(1)
        ctx.save_for_backward(image_bd, text_nd, scale, bias)
        ctx.tile, ctx.group = tile, group
        return sum_b

    @staticmethod
    def backward(ctx, grad_b):
        image_bd, text_nd, scale, bias = ctx.saved_tensors
        sums, grad_bias = _Gradients(image_bd, text_nd), torch.zeros_like(bias)
        for rows, columns, logits in _tiles(image_bd, text_nd, scale, ctx.tile):
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
    """Σ log(1 + exp logit) of each own image over all texts [b]; a logit is scale times the product, plus `bias`."""
    with torch.autocast(image_bd.device.type, enabled=False):
        return _Softplus.apply(image_bd, text_bd.to(image_bd.dtype), scale, bias, tile, group)


class _Expected(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image_bd, text_bd, teacher_image_bd, teacher_text_bd, teacher_scale, tile, group):
        text_nd, teacher_nd = gather(text_bd, group), gather(teacher_text_bd, group)
        teacher = (teacher_image_bd, teacher_nd, teacher_scale)
        row_b, column_n = _log_sums(*teacher, tile, group)
        mean_b, mean_n = torch.zeros_like(row_b), torch.zeros_like(column_n)
        for rows, columns, logits in _tiles(*teacher, tile):
            cosine = (image_bd[rows] @ text_nd[columns].T).to(row_b.dtype)
            mean_b[rows] += ((logits - row_b[rows, None]).exp_() * cosine).sum(1)
            mean_n[columns] += (logits.sub_(column_n[columns]).exp_() * cosine).sum(0)
        ctx.save_for_backward(image_bd, text_nd, *teacher, row_b, column_n)
        ctx.tile, ctx.group = tile, group
        return mean_b, reduce_scatter(mean_n, group)

    @staticmethod
    def backward(ctx, grad_row_b, grad_column_b):
        image_bd, text_nd, *teacher, row_b, column_n = ctx.saved_tensors
        grad_column_n = gather(grad_column_b.contiguous(), ctx.group)
        sums = _Gradients(image_bd, text_nd)
        for rows, columns, logits in _tiles(*teacher, ctx.tile):
            grad = (logits - row_b[rows, None]).exp_().mul_(grad_row_b[rows, None])
            grad += logits.sub_(column_n[columns]).exp_().mul_(grad_column_n[columns])
            sums.add(rows, columns, grad)
        grad_image, grad_text, _ = sums.finish(torch.ones((), device=row_b.device), ctx.group)
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
    """The product of each own image with the texts, averaged as a teacher's softmax has it [b], and of each own text
    [b].

    No gradient reaches the teacher, whose vectors may have another width than the student's.
    """
    with torch.autocast(image_bd.device.type, enabled=False):
        teacher_text_bd = teacher_text_bd.to(teacher_image_bd.dtype)
        teacher = (part.detach() for part in (teacher_image_bd, teacher_text_bd, teacher_scale))
        return _Expected.apply(image_bd, text_bd.to(image_bd.dtype), *teacher, tile, group)


def group_means(vector_bd: torch.Tensor, group_b: torch.Tensor, *, group=None) -> torch.Tensor:
    """For each own row the mean [b, d] of the rows of all ranks whose group number is the same.

    A row whose number is negative stands alone. Memory is linear: rows are summed by group, never compared in pairs.
    """
    vector_nd, group_n = gather_with_grad(vector_bd, group), gather(group_b, group)
    n = len(group_n)
    alone_n = torch.where(group_n < 0, -1 - torch.arange(n, device=group_n.device), group_n)
    number_n = alone_n.unique(return_inverse=True)[1]
    sums_gd = vector_nd.new_zeros(vector_nd.shape, dtype=_wide(vector_nd.dtype)).index_add(
        0, number_n, vector_nd.to(_wide(vector_nd.dtype))
    )
    count_g = torch.bincount(number_n, minlength=n)
    own_b = _own_part(number_n, group)
    return sums_gd[own_b] / count_g[own_b, None]
