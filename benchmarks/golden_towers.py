"""Write vectors and gradients of open_clip's CLIP on a tiny random model to tests/golden/open_clip_towers.json.

Run it with the Python of the peers' environment (benchmarks/peers.py makes it). It takes seconds. The weights are drawn
from the tensors' names (benchmarks/random_checkpoint.py), so they are not stored.

    PEERS/bin/python benchmarks/golden_towers.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from open_clip.loss import ClipLoss
from open_clip.model import CLIP

from random_checkpoint import PREPROCESS, draw_tensor

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "open_clip_towers.json"
SIZE, END = 32, 99
VISION = {"image_size": SIZE, "layers": 2, "width": 16, "patch_size": 8, "head_width": 8}
TEXT = {"context_length": 12, "vocab_size": END + 1, "width": 24, "heads": 3, "layers": 3}
TEXTS = [[98, 5, 6, 7, END], [98, 5, END], [98, *range(1, 11), END], [98, 5, 6, 7, END], [98, 8, 6, 7, END], [98, END]]


def main() -> int:
    """Return 0 after the file is written."""
    found = {}
    for activation in ("gelu", "quick_gelu"):
        model_cfg = {"embed_dim": 20, "vision_cfg": VISION, "text_cfg": TEXT}
        model_cfg |= {"quick_gelu": True} if activation == "quick_gelu" else {}
        model = CLIP(**model_cfg)
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        state = {name: torch.from_numpy(draw_tensor(name, shape)) for name, shape in shapes.items()}
        model.load_state_dict(state | {"logit_scale": torch.tensor(2.0)})
        images = np.random.default_rng(0).integers(0, 256, (len(TEXTS), SIZE, SIZE, 3), np.uint8)
        mean, std = (torch.tensor(PREPROCESS[key]).view(-1, 1, 1) for key in ("mean", "std"))
        pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
        tokens = torch.zeros(len(TEXTS), TEXT["context_length"], dtype=torch.long)
        for row, text in enumerate(TEXTS):
            tokens[row, : len(text)] = torch.tensor(text)
        image, text = model.encode_image(pixels, normalize=True), model.encode_text(tokens, normalize=True)
        loss = ClipLoss()(image, text, model.logit_scale.exp())
        loss.backward()
        # Two numbers for each gradient: its length, and its product with a random direction.
        grads = {
            name: [p.grad.norm().item(), (p.grad * torch.from_numpy(draw_tensor(name, tuple(p.shape), 1))).sum().item()]
            for name, p in model.named_parameters()
        }
        vectors = {"images": image.tolist(), "texts": text.tolist(), "loss": loss.item()}
        found[activation] = {"model_cfg": model_cfg, **vectors, "grads": grads}
    GOLDEN.write_text(json.dumps({"ids": TEXTS, "size": SIZE, "models": found}) + "\n", encoding="utf-8")
    print(GOLDEN.name, GOLDEN.stat().st_size, "bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
