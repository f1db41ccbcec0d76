"""One rank of the tests that run on several: `rank_worker.py JOB RANK RANKS STORE INPUT OUTPUT`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from linnaea.train.clip import losses as contrastive
from linnaea.train.clip.gradient_caching import cached_backward

TILE = 3


def gradients(loss, inputs: dict) -> dict:
    """Return the value of a loss and its gradient for every input that has one."""
    for value in inputs.values():
        value.grad = None
    loss.backward()
    grads = {name: value.grad.clone() for name, value in inputs.items() if value.grad is not None}
    return {"loss": loss.detach(), **grads}


def losses(given: dict, rank: int, ranks: int) -> dict:
    """Return value and gradients of each loss for this rank's rows of the inputs."""
    rows = {name: value.chunk(ranks)[rank] if value.ndim else value for name, value in given.items()}
    inputs = {name: rows[name].clone().requires_grad_() for name in ("image", "text", "scale", "bias")}
    image, text, scale, bias = inputs.values()
    teacher = (rows["teacher_image"], rows["teacher_text"], rows["teacher_scale"])
    groups = {name: rows[name] for name in ("genus", "family")}
    levels = contrastive.LevelConfig(genus=0.2, family=0.1)
    return {
        "info_nce": gradients(contrastive.info_nce(image, text, scale, tile=TILE), inputs),
        "sigmoid": gradients(contrastive.sigmoid_loss(image, text, scale, bias, tile=TILE), inputs),
        "distillation": gradients(contrastive.distillation_loss(image, text, scale, *teacher, tile=TILE), inputs),
        "levels": gradients(contrastive.level_loss(image, text, scale, groups, levels, tile=TILE), inputs),
    }


class Towers(torch.nn.Module):
    """Two linear towers with dropout, and a scale that the forward pass returns."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.image, self.text = torch.nn.Linear(6, 5), torch.nn.Linear(6, 5)
        self.log_scale = torch.nn.Parameter(torch.tensor(2.0))
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, pair):
        image, text = (
            torch.nn.functional.normalize(self.dropout(torch.tanh(tower(x))), dim=-1)
            for tower, x in zip((self.image, self.text), pair, strict=True)
        )
        return image, text, self.log_scale.exp()


def cached(given: dict, rank: int, ranks: int) -> dict:
    """Return the gradients of a DDP model by gradient caching in three micro-batches, and directly."""
    pair = [given[name].chunk(ranks)[rank] for name in ("image", "text")]
    found = {}
    for way in ("cached", "direct"):
        torch.manual_seed(0)
        model = DistributedDataParallel(Towers().double())
        loss_of = lambda *features: contrastive.info_nce(*features, tile=TILE)
        if way == "cached":
            micro = list(zip(*(part.split(3) for part in pair), strict=True))
            loss = cached_backward(model, micro, loss_of, no_sync=model.no_sync)
        else:
            loss = loss_of(*model(pair))
            loss.backward()
        found[way] = {"loss": loss.detach(), **{name: p.grad.clone() for name, p in model.module.named_parameters()}}
    return found


def main() -> None:
    """Join the other ranks, do the job and write the result."""
    job, rank, ranks, store, source, target = sys.argv[1:]
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=Path(store).as_uri(), rank=int(rank), world_size=int(ranks))
    found = {"losses": losses, "cached": cached}[job](torch.load(source), int(rank), int(ranks))
    torch.save(found, target)
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
