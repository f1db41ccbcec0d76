"""A process of the tests of the loop: `loop_worker.py JOB FOLDER`; with RANK, WORLD_SIZE … set it is one of several.

It trains the recipe in FOLDER/recipe.json and writes the whole towers to FOLDER/towers.pt; JOB says what goes wrong.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from linnaea.train.clip import loop as clip_loop
from linnaea.train.distributed.process_group import join
from made_clip import mean_vectors, tiny_recipe

AT_STEP = 3


def spoil(job: str, rank: int) -> None:
    """Makes the second rank's loss not a number, or the second rank vanish, at a step."""
    calls, plain = [], clip_loop.Objective.__call__

    def call(self, *given):
        calls.append(None)
        loss = plain(self, *given)
        if rank == 1 and len(calls) == AT_STEP + 1:
            if job == "vanish":
                os.kill(os.getpid(), signal.SIGKILL)
            loss = loss * float("nan")
            self.parts["loss"] = loss.detach()
        return loss

    clip_loop.Objective.__call__ = call


def main() -> None:
    """Trains, and says on one line how it ended."""
    job, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    changes = json.loads((folder / "changes.json").read_text(encoding="utf-8"))
    recipe = tiny_recipe(folder, **changes)
    if job == "replay":
        recipe = replace(recipe, replay=replace(recipe.organisms, drawn=48), replay_batch=4)
    try:
        with join("cpu", timeout_s=recipe.timeout_s) as processes:
            if job in ("nan", "vanish"):
                spoil(job, processes.rank)
            resume = (folder / "work").exists() and job == "resume"
            towers = clip_loop.train_clip(
                recipe, folder / "work", processes=processes, resume=resume, validate=mean_vectors
            )
            if processes.is_first:
                torch.save(towers.state_dict(), folder / "towers.pt")
    except (FloatingPointError, ConnectionError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(3)


if __name__ == "__main__":
    main()
