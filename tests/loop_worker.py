"""A process for tests of the loop: `loop_worker.py JOB FOLDER`. With RANK, WORLD_SIZE … it is one of several.

It trains the tiny recipe with the changes in FOLDER/changes.json, writes the towers to FOLDER/towers.pt, and its log to
stdout. JOB is the fault to simulate.
"""

from __future__ import annotations

import json
import logging
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
    """Make the loss of the second rank NaN, or kill the second rank, at a step."""
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
    """Train, and print on one line how it ended."""
    job, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    logging.getLogger("linnaea").setLevel(logging.INFO)
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
