"""A CLIP recipe so small that a step takes milliseconds, and helpers of its tests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from linnaea.train.clip.recipe import ClipRecipe, SamplesConfig
from linnaea.train.data.augmentation import AugmentConfig
from linnaea.train.runtime.metrics_log import CURVE, read_curve

HERE = Path(__file__).parent
TOWERS = {
    "model_cfg": {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 16, "layers": 2, "width": 16, "patch_size": 8, "head_width": 8},
        "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"interpolation": "bicubic", "resize_mode": "shortest"},
}
TIMES = ("samples_per_s",)


def tiny_recipe(folder: Path, **changes) -> ClipRecipe:
    """Drawn pictures, 12 pairs a step, 6 steps."""
    folder.mkdir(parents=True, exist_ok=True)
    towers = folder / "open_clip_config.json"
    towers.write_text(json.dumps(TOWERS), encoding="utf-8")
    recipe = ClipRecipe(
        name="tiny",
        towers=towers,
        organisms=SamplesConfig(drawn=96),
        crop=AugmentConfig(size=16),
        batch=12,
        steps=6,
        warm_up=2,
        learning_rate=1e-3,
        checkpoint_every=2,
        n_threads=1,
        device="cpu",
    )
    return replace(recipe, **changes)


def curve_of(work: Path) -> list[dict[str, float]]:
    """The rows of a run's curve without what depends on the clock."""
    return [{name: value for name, value in row.items() if name not in TIMES} for row in read_curve(work / CURVE)]


def mean_vectors(towers) -> dict[str, float]:
    """A validation: one number of the vectors of made images, one of those of texts."""
    import torch

    from linnaea.train.clip.towers import pack_texts

    images = torch.arange(2 * 16 * 16 * 3).reshape(2, 16, 16, 3).remainder(251).to(torch.uint8)
    vectors = {"images": towers.encode_images(images), "texts": towers.encode_texts(pack_texts([[1, 2], [3, 4, 5]]))}
    return {name: value[:, 0].sum().item() for name, value in vectors.items()}


def validations(work: Path) -> np.ndarray:
    """The figures of a run's validations."""
    lines = (work / "validation.csv").read_text(encoding="utf-8").splitlines()[1:]
    return np.array([float(line.split(",")[-1]) for line in lines])


def start_ranks(job: str, folder: Path, n: int, **changes) -> list[subprocess.Popen]:
    """Worker processes that find each other as torchrun would have them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "changes.json").write_text(json.dumps(changes))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ,
        "GLOO_SOCKET_IFNAME": "lo",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(n),
    }
    env["PYTHONPATH"] = os.pathsep.join([str(HERE), *(path for path in sys.path if path)])
    return [
        subprocess.Popen(
            [sys.executable, str(HERE / "loop_worker.py"), job, str(folder)],
            env={**env, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(n)
    ]


def run_ranks(job: str, folder: Path, n: int, **changes) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each worker."""
    workers = start_ranks(job, folder, n, **changes)
    said = [worker.communicate(timeout=240) for worker in workers]
    return [(worker.returncode, *both) for worker, both in zip(workers, said, strict=True)]


def losses(work: Path) -> np.ndarray:
    """Loss, gradient and scale of each step, [steps, 3]."""
    return np.array([[row[name] for name in ("loss", "gradient", "scale")] for row in curve_of(work)])
