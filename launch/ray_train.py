"""Trains a recipe on a Ray cluster, a rank a worker.

    python launch/ray_train.py --workers 32 RECIPE --out DIR            # DIR must be seen by all machines

What follows the recipe goes to `linnaea train`. A worker that is lost is replaced, and all go on from the newest
checkpoint; so does a second start of the same command. Wants `pip install 'ray[train]'` beside linnaea[train], and
RAY_TRAIN_V2_ENABLED=1 where Ray is older than its second Train.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence


def command(arguments: Sequence[str]) -> list[str]:
    """The arguments of `linnaea` that a rank runs."""
    return ["train", *arguments, "--resume"]


def train_on_worker(config: dict) -> None:
    """One rank; Ray has joined it with the others."""
    from ray.train import get_context

    from linnaea.cli import main as linnaea

    context = get_context()
    os.environ |= {
        "RANK": str(context.get_world_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
    }
    code = linnaea(command(config["arguments"]))
    if code:
        raise RuntimeError(f"rank {context.get_world_rank()} ended with exit code {code}; its line above says why")


def make_trainer(options: argparse.Namespace, arguments: list[str]):
    """The trainer, not yet started."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    resources = {"CPU": options.cpus} | ({} if options.cpu_only else {"GPU": 1})
    return TorchTrainer(
        train_on_worker,
        train_loop_config={"arguments": arguments},
        # tensors go over NCCL, what ranks tell each other over gloo
        torch_config=TorchConfig(backend="gloo" if options.cpu_only else "cpu:gloo,cuda:nccl"),
        scaling_config=ScalingConfig(
            num_workers=options.workers, use_gpu=not options.cpu_only, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=options.run_name,
            storage_path=options.storage,
            failure_config=FailureConfig(max_failures=options.max_failures),
        ),
    )


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Options of this script, and what goes to `linnaea train`: the recipe and all that this script does not know."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--workers", type=int, required=True, help="ranks, one GPU each")
    parser.add_argument("--cpus", type=int, default=16, help="processor cores of a rank (default: 16)")
    parser.add_argument("--cpu-only", action="store_true", help="train without GPUs")
    parser.add_argument("--run-name", default="linnaea-train", help="the run's name in Ray (default: linnaea-train)")
    parser.add_argument("--storage", help="folder for Ray's own records, seen by all machines")
    parser.add_argument("--max-failures", type=int, default=3, help="times that lost workers are replaced (default: 3)")
    options, arguments = parser.parse_known_args(argv)
    if not arguments:
        parser.error("which recipe? give its name, and --out DIR")
    return options, arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the trainer to its end; exit code 0."""
    options, arguments = parse(sys.argv[1:] if argv is None else argv)
    make_trainer(options, arguments).fit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
