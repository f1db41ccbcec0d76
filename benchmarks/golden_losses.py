"""Write values and gradients of open_clip's losses on one, two and four ranks to tests/golden/open_clip_losses.json.

Run it with the Python of the peers' environment (benchmarks/peers.py makes it). It takes seconds.

    PEERS/bin/python benchmarks/golden_losses.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from torch import distributed, multiprocessing
from torch.nn import functional as F

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "open_clip_losses.json"
N, DIM, TEACHER_DIM = 12, 6, 4


def load_losses():
    """Return open_clip's module of losses, without the towers, which need the compiled parts of torchvision."""
    import importlib.util

    folder = Path(importlib.util.find_spec("open_clip").origin).parent
    spec = importlib.util.spec_from_file_location("open_clip_loss", folder / "loss.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_inputs() -> dict[str, torch.Tensor]:
    """Return random unit rows and the scalars."""
    torch.manual_seed(3)
    unit = lambda width: F.normalize(torch.randn(N, width, dtype=torch.float64), dim=-1)
    inputs = {"image": unit(DIM), "text": unit(DIM)}
    inputs |= {"teacher_image": unit(TEACHER_DIM), "teacher_text": unit(TEACHER_DIM)}
    scalars = {"scale": 9.0, "bias": -2.0, "teacher_scale": 5.0}
    return inputs | {name: torch.tensor(value, dtype=torch.float64) for name, value in scalars.items()}


def one_rank(rank: int, ranks: int, folder: str) -> None:
    """Write this rank's losses and gradients."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    module = load_losses()
    shared = {"rank": rank, "world_size": ranks}
    gathered = shared | {"local_loss": True, "gather_with_grad": True}
    given = {name: value.chunk(ranks)[rank] if value.ndim else value for name, value in make_inputs().items()}
    found = {}
    for name in ("info_nce", "sigmoid", "distillation"):
        parts = {key: given[key].clone().requires_grad_() for key in ("image", "text", "scale", "bias")}
        pair = (parts["image"], parts["text"], parts["scale"])
        if name == "info_nce":
            loss = module.ClipLoss(**gathered)(*pair)
        elif name == "sigmoid":
            loss = module.SigLipLoss(**shared)(*pair, parts["bias"])
        else:
            teacher = (given["teacher_image"], given["teacher_text"], given["teacher_scale"])
            loss = module.DistillClipLoss(**gathered)(*pair, *teacher)[1]
        loss.backward()
        found[name] = {"loss": loss.detach()} | {key: p.grad for key, p in parts.items() if p.grad is not None}
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def join(parts: list[dict]) -> dict[str, list]:
    """Return losses by rank, with rows in order and the scalars' gradients averaged over ranks, as DDP does."""
    whole = {}
    for key in parts[0]:
        values = [part[key] for part in parts]
        if key == "loss":
            whole[key] = torch.stack(values).tolist()
        else:
            whole[key] = (torch.cat(values) if values[0].ndim else torch.stack(values).mean()).tolist()
    return whole


def main() -> int:
    """Return 0 after the file is written."""
    torch.set_num_threads(1)
    losses = {}
    for ranks in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            multiprocessing.spawn(one_rank, (ranks, folder), nprocs=ranks)
            found = [torch.load(f"{folder}/{rank}.pt") for rank in range(ranks)]
        losses[ranks] = {name: join([part[name] for part in found]) for name in found[0]}
    inputs = {name: value.tolist() for name, value in make_inputs().items()}
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    GOLDEN.write_text(json.dumps({"inputs": inputs, "losses": losses}) + "\n", encoding="utf-8")
    print(GOLDEN.name, GOLDEN.stat().st_size, "bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
