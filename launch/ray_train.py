"""Train a recipe on a Ray cluster, with one rank per worker.

    python launch/ray_train.py --workers 32 RECIPE --out DIR            # all machines must see DIR

The arguments after the recipe are passed to `linnaea train`. A lost worker is replaced, and all workers continue from
the newest checkpoint. A second start of the same command also continues from it. This script needs
`pip install 'ray[train]'` besides linnaea[train], and RAY_TRAIN_V2_ENABLED=1 for versions of Ray that still default to
Train V1.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence


def make_command(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of `linnaea` for one rank."""
    return ["train", *arguments, "--resume"]


def train_on_worker(config: dict) -> None:
    """Run one rank; Ray has connected it with the others."""
    from ray.train import get_context

    from linnaea.cli import main as linnaea

    context = get_context()
    os.environ |= {
        "RANK": str(context.get_world_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
    }
    code = linnaea(make_command(config["arguments"]))
    if code:
        raise RuntimeError(f"rank {context.get_world_rank()} ended with exit code {code}; see its error line above")


def make_trainer(options: argparse.Namespace, arguments: list[str]):
    """Return the trainer without starting it."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    resources = {"CPU": options.cpus} | ({} if options.cpu_only else {"GPU": 1})
    return TorchTrainer(
        train_on_worker,
        train_loop_config={"arguments": arguments},
        # NCCL for tensors, gloo for Python objects
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
    """Return the options of this script, and the arguments for `linnaea train`: the recipe and all unknown options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--workers", type=int, required=True, help="ranks, one GPU each")
    parser.add_argument("--cpus", type=int, default=16, help="processor cores of a rank (default: 16)")
    parser.add_argument("--cpu-only", action="store_true", help="train without GPUs")
    parser.add_argument("--run-name", default="linnaea-train", help="the run's name in Ray (default: linnaea-train)")
    parser.add_argument("--storage", help="folder for Ray's own records, visible to all machines")
    parser.add_argument("--max-failures", type=int, default=3, help="how often lost workers are replaced (default: 3)")
    options, arguments = parser.parse_known_args(argv)
    if not arguments:
        parser.error("the recipe is missing; give its name, and --out DIR")
    return options, arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trainer to its end; return 0."""
    options, arguments = parse(sys.argv[1:] if argv is None else argv)
    make_trainer(options, arguments).fit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
