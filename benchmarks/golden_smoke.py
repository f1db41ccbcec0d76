"""Write tests/golden/smoke_curve.json: the first losses of the recipe `smoke` on a processor, on one thread.

    python benchmarks/golden_smoke.py

Run this only if the recipe, its data or its mathematics change on purpose, and say so in the change log.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from linnaea.train.clip.loop import train_clip
from linnaea.train.commands.train import TrainConfig, resolve
from linnaea.train.runtime.metrics_log import CURVE, read_curve

ROOT = Path(__file__).resolve().parent.parent
STEPS = 8


def main() -> None:
    """Train the first steps and write their losses."""
    torch.set_num_threads(1)
    recipe = replace(
        resolve(TrainConfig(recipe="smoke", recipes=ROOT / "recipes")),
        device="cpu",
        stop_after=STEPS,
        checkpoint_every=0,
    )
    with tempfile.TemporaryDirectory() as work:
        train_clip(recipe, Path(work))
        rows = read_curve(Path(work) / CURVE)
    found = {name: [round(row[name], 5) for row in rows] for name in ("loss", "contrast", "replay")}
    (ROOT / "tests" / "golden" / "smoke_curve.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
