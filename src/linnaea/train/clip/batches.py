"""Batches of a rank, ready for the model: organisms and replayed pairs, step by step.

The pairs of a step come in micro-batches; the activations of one micro-batch are in memory at a time.

Shape suffixes: b pairs, h w pixels, c channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from glob import glob
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from linnaea.datasets.group_ids import group_ids
from linnaea.datasets.rejects import RejectJournal
from linnaea.datasets.samples import SampleSource
from linnaea.model.core.tokenizer import ClipTokenizer
from linnaea.train.clip.config import ClipConfig, SamplesConfig
from linnaea.train.clip.towers import PackedTexts, pack_texts
from linnaea.train.data.sample_stream import DeterministicLoader, LoaderConfig, TrainingBatch
from linnaea.train.distributed.process_group import ProcessGroup

ORGANISMS, REPLAY = "organisms", "replay"
# With fewer shards the start of worker processes takes longer than the scan.
MANY_SHARDS = 64


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """Pairs that go through the towers together. `replay` are further images and texts."""

    images: torch.Tensor
    texts: PackedTexts
    replay: tuple[torch.Tensor, PackedTexts] | None = None


@dataclass(frozen=True, kw_only=True)
class StepBatch:
    """The pairs of a rank in a step.

    `groups` mark the pairs of one genus or family. `positions` are the positions of the sample streams after the step.
    """

    micro_batches: list[MicroBatch]
    groups: dict[str, torch.Tensor]
    positions: dict[str, int]


def find_shards(patterns: tuple[str, ...]) -> list[Path]:
    """Expand patterns to files, sorted within each pattern. Raise FileNotFoundError if a pattern matches no file."""
    paths: list[Path] = []
    for pattern in patterns:
        is_pattern = any(sign in pattern for sign in "*?[")
        found = [Path(path) for path in sorted(glob(pattern, recursive=True))] if is_pattern else [Path(pattern)]
        if not found:
            raise FileNotFoundError(f"no shard matches {pattern}; check the folder, or name other shards in the recipe")
        paths += found
    return paths


def open_source(config: SamplesConfig, *, lineages: bool, n_processes: int = 1) -> SampleSource:
    """Open the samples that a recipe names, with their lineages if `lineages`.

    `n_processes` scan many shards in parallel when these are opened for the first time.
    """
    if config.drawn:
        from linnaea.datasets.synthetic import SyntheticSource

        return SyntheticSource(config.drawn, template=config.template)
    if config.shards:
        from linnaea.datasets.webdataset import TarSource

        paths = find_shards(config.shards)
        return TarSource(
            paths,
            template=config.template,
            lineages=lineages,
            keep_truncated=config.keep_truncated,
            n_open=2 * config.window + 32,
            n_processes=n_processes if len(paths) >= MANY_SHARDS else 1,
        )
    from linnaea.datasets.manifests import TableSource, read_image_table

    return TableSource(
        read_image_table(config.table, split=config.split),
        config.root or config.table.parent,
        template=config.template,
        name=config.table.name,
        keep_truncated=config.keep_truncated,
        n_open=2 * config.window + 32,
    )


class BatchLoader:
    """The pairs of one rank from the present position of the run, prepared in advance by threads.

    Journals of the samples that could not be used, or that are odd, are written below `work_dir`.
    """

    def __init__(self, recipe: ClipConfig, processes: ProcessGroup, *, context: int, work_dir: Path):
        self._recipe, self._processes = recipe, processes
        batches = {ORGANISMS: recipe.batch, REPLAY: recipe.replay_batch}
        samples = {ORGANISMS: recipe.organisms, REPLAY: recipe.replay}
        tokenizer = ClipTokenizer(context)
        self.loaders: dict[str, DeterministicLoader] = {}
        for name, config in samples.items():
            if config is None:
                continue
            own = processes.share_of(batches[name], "batch" if name == ORGANISMS else "replay_batch")
            lineages = recipe.loss == "levels" and name == ORGANISMS
            make = partial(open_source, config, lineages=lineages, n_processes=recipe.n_threads)
            source = processes.run_first_rank_first(make)
            self.loaders[name] = DeterministicLoader(
                source,
                _make_loader_config(recipe, config, own),
                rank=processes.rank,
                n_ranks=processes.world_size,
                tokenize=tokenizer.ids,
                rejects=RejectJournal(work_dir / "rejects" / f"{name}-{processes.rank}.csv"),
                notices=RejectJournal(work_dir / "notices" / f"{name}-0.csv")
                if processes.is_first and source.notices
                else None,
            )

    def state(self, positions: dict[str, int]) -> dict[str, dict]:
        """Return the state of each loader at these positions, for a checkpoint."""
        return {name: loader.state() | {"position": positions[name]} for name, loader in self.loaders.items()}

    def restore(self, states: dict[str, dict]) -> None:
        """Continue at the states of a checkpoint."""
        for name, loader in self.loaders.items():
            loader.restore(states[name])

    def __iter__(self) -> Iterator[StepBatch]:
        """Yield the pairs of steps without end. The next step is prepared while the model trains on the last."""
        streams = {name: iter(loader) for name, loader in self.loaders.items()}

        def make() -> StepBatch:
            return self._make_step({name: next(batches) for name, batches in streams.items()})

        pool = ThreadPoolExecutor(1, thread_name_prefix="feed")
        try:
            waiting = pool.submit(make)
            while True:
                pairs = waiting.result()
                waiting = pool.submit(make)
                yield pairs
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for batches in streams.values():
                batches.close()

    def _make_step(self, batches: dict[str, TrainingBatch]) -> StepBatch:
        organisms, replayed = batches[ORGANISMS], batches.get(REPLAY)
        n = len(organisms.texts) + (len(replayed.texts) if replayed else 0)
        n_micro = max(1, -(-n // self._recipe.micro_batch)) if self._recipe.micro_batch else 1
        parts = [self._split(organisms, n_micro)]
        if replayed:
            parts.append(self._split(replayed, n_micro))
        micro_batches = [
            MicroBatch(images=own[0], texts=own[1], replay=rest[0] if rest else None)
            for own, *rest in zip(*parts, strict=True)
        ]
        groups = group_ids(organisms.lineages)
        return StepBatch(
            micro_batches=micro_batches,
            groups={name: torch.from_numpy(value).to(self._processes.device) for name, value in groups.items()},
            positions={name: batch.position + self.loaders[name].global_batch for name, batch in batches.items()},
        )

    def _split(self, batch: TrainingBatch, n: int) -> list[tuple[torch.Tensor, PackedTexts]]:
        if len(batch.texts) < n:
            raise ValueError(
                f"micro_batch {self._recipe.micro_batch} splits {len(batch.texts)} pairs into {n} parts; increase it"
            )
        bounds = np.linspace(0, len(batch.texts), n + 1).astype(int)
        device = self._processes.device
        found = []
        for start, stop in pairwise(bounds):
            images_bhwc = torch.from_numpy(batch.images[start:stop])
            if device.type == "cuda":
                images_bhwc = images_bhwc.pin_memory().to(device, non_blocking=True)
            found.append((images_bhwc, pack_texts(batch.tokens[start:stop]).to(device)))
        return found


def _make_loader_config(recipe: ClipConfig, samples: SamplesConfig, own: int) -> LoaderConfig:
    return LoaderConfig(
        batch_size=own,
        seed=recipe.seed,
        window=samples.window,
        balance=samples.balance,
        types=samples.types,
        draw=samples.draw,
        images=recipe.crop,
        n_threads=recipe.n_threads,
        n_ahead=recipe.n_ahead,
    )
